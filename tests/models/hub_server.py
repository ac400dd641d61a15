"""A stand-in for the Hugging Face Hub: what its client asks when it makes a repository, commits files, and fetches them."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


class HubServer:
    """Repositories in memory. `files` is by repository and path; `uploads` by hash."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.uploads: dict[str, bytes] = {}
        self.private: dict[str, bool] = {}
        self.tokens: set[str | None] = set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None: ...

            def body(self) -> bytes:
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def reply(self, content: Any, status: int = 200, **headers: str) -> None:
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def do_POST(self) -> None:
                hub.tokens.add(self.headers.get("Authorization"))
                body, path = self.body(), unquote(self.path.split("?")[0])
                if path == "/api/repos/create":
                    about = json.loads(body)
                    name = f"{about.get('organization') or 'me'}/{about['name']}"
                    hub.private[name] = bool(about.get("private") or about.get("visibility") == "private")
                    hub.files.setdefault(name, {})
                    self.reply({"url": f"{hub.url}/{name}"})
                elif path.startswith("/api/models/") and "/preupload/" in path:
                    files = json.loads(body)["files"]
                    modes = {f["path"]: "lfs" if f["path"].endswith(".safetensors") else "regular" for f in files}
                    self.reply(
                        {"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]}
                    )
                elif path.endswith(".git/info/lfs/objects/batch"):
                    objects = json.loads(body)["objects"]
                    upload = [
                        {**o, "actions": {"upload": {"href": f"{hub.url}/upload/{o['oid']}", "header": {}}}}
                        for o in objects
                    ]
                    self.reply({"transfer": "basic", "objects": upload})
                elif path.startswith("/api/models/") and "/commit/" in path:
                    name = path.removeprefix("/api/models/").split("/commit/")[0]
                    for line in map(json.loads, body.splitlines()):
                        value = line["value"]
                        if line["key"] == "file":
                            hub.files[name][value["path"]] = base64.b64decode(value["content"])
                        elif line["key"] == "lfsFile":
                            hub.files[name][value["path"]] = hub.uploads[value["oid"]]
                    self.reply({"commitUrl": f"{hub.url}/{name}/commit/{hub.sha(name)}", "commitOid": hub.sha(name)})
                elif path == "/api/validate-yaml":
                    self.reply({"errors": [], "warnings": []})
                else:
                    self.reply({"error": path}, 404)

            def do_PUT(self) -> None:
                data = self.body()
                hub.uploads[hashlib.sha256(data).hexdigest()] = data
                self.reply({})

            def do_GET(self) -> None:
                path = unquote(self.path.split("?")[0])
                if path.startswith("/api/models/"):
                    name = "/".join(path.split("/")[3:5])
                    if name not in hub.files:
                        return self.reply({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
                    if "/tree/" in path:
                        files = hub.files[name].items()
                        listed = [{"type": "file", "path": p, "size": len(d), "oid": hub.etag(d)} for p, d in files]
                        return self.reply(listed)
                    siblings = [{"rfilename": file} for file in hub.files[name]]
                    return self.reply(
                        {"id": name, "sha": hub.sha(name), "siblings": siblings, "private": False, "tags": []}
                    )
                owner, repository, _, _, *file = path.strip("/").split("/")
                name = f"{owner}/{repository}"
                data = hub.files.get(name, {}).get("/".join(file))
                if data is None:
                    return self.reply({"error": path}, 404, X_Error_Code="EntryNotFound")
                return self.reply(data, ETag=f'"{hub.etag(data)}"', X_Repo_Commit=hub.sha(name))

            do_HEAD = do_GET

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    @staticmethod
    def etag(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()

    def sha(self, name: str) -> str:
        """40 hex digits that stand for the repository's files."""
        return hashlib.sha1(repr(sorted(self.files[name].items())).encode()).hexdigest()

    def __enter__(self) -> HubServer:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
