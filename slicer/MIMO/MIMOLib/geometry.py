"""Where the voxels of a volume lie: 3D Slicer counts millimetres as RAS, files and ITK as LPS, the server voxels [i, j, k]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .errors import MimoError

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS to LPS and back
OFF = 0.1  # of a voxel; so far may the corners of two grids be apart


class Grid:
    """The voxels of a volume.

    Args:
        shape: voxels along i, j, k.
        affine: [4, 4], voxel indices to RAS millimetres.
    """

    def __init__(self, shape: Sequence[int], affine: np.ndarray) -> None:
        self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        self.affine = np.asarray(affine, dtype=float)
        if abs(np.linalg.det(self.affine[:3, :3])) < 1e-9:
            raise MimoError("The axes of this volume do not span a space; nothing can be marked on it.")
        self._inverse = np.linalg.inv(self.affine)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    def continuous(self, ras: Sequence[float]) -> np.ndarray:
        """A place in RAS millimetres as voxel indices, not rounded."""
        return (self._inverse @ [*ras, 1.0])[:3]

    def voxel(self, ras: Sequence[float]) -> list[int]:
        """The voxel that holds a place in RAS millimetres.

        Raises:
            MimoError: it lies outside the volume.
        """
        index = np.floor(self.continuous(ras) + 0.5).astype(int)
        if not all(0 <= v < n for v, n in zip(index, self.shape)):
            raise MimoError("A point lies outside the volume.")
        return [int(v) for v in index]

    def nearest(self, ras: Sequence[float]) -> list[int]:
        """Like `voxel`, but for a place outside the voxel at the edge that is nearest along each axis."""
        index = np.floor(self.continuous(ras) + 0.5)
        return [int(v) for v in np.clip(index, 0, np.subtract(self.shape, 1))]

    def ras(self, voxel: Sequence[float]) -> list[float]:
        """The middle of a voxel in RAS millimetres."""
        return [float(v) for v in (self.affine @ [*voxel, 1.0])[:3]]

    def box(self, corners: Sequence[Sequence[float]]) -> list[int]:
        """[i0, j0, k0, i1, j1, k1], the ends outside, of the voxels whose middles a box holds; cut at the volume's edges.

        A box that runs along other axes than the volume gets the voxels between its outermost corners.

        Args:
            corners: in RAS millimetres; two opposite ones, or all.

        Raises:
            MimoError: it lies outside the volume.
        """
        indices = np.array([self.continuous(corner) for corner in corners])
        low = np.ceil(indices.min(axis=0) - 1e-6).astype(int)
        high = np.floor(indices.max(axis=0) + 1e-6).astype(int) + 1
        middle = np.floor(indices.mean(axis=0) + 0.5).astype(int)
        thin = low >= high  # between two middles: the voxel that holds the box's own
        low, high = np.where(thin, middle, low), np.where(thin, middle + 1, high)
        low, high = np.maximum(low, 0), np.minimum(high, self.shape)
        if not (low < high).all():
            raise MimoError("The box lies outside the volume.")
        return [*map(int, low), *map(int, high)]

    def same(self, other: Grid) -> bool:
        """Whether two grids have the same voxels in the same places."""
        if self.shape != other.shape:
            return False
        corners = np.array(
            [[*np.multiply(c, np.subtract(self.shape, 1)), 1] for c in np.ndindex(2, 2, 2)], dtype=float
        ).T
        return bool(np.abs((self._inverse @ other.affine @ corners - corners)[:3]).max() < OFF)


def box_corners(size: Sequence[float], box_to_ras: np.ndarray) -> list[list[float]]:
    """The eight corners in RAS millimetres of a box.

    Args:
        size: along its own axes.
        box_to_ras: [4, 4], from its own axes, whose origin is its middle.
    """
    signs = [np.multiply(np.array(c) - 0.5, size) for c in np.ndindex(2, 2, 2)]
    return [[float(v) for v in (box_to_ras @ [*corner, 1.0])[:3]] for corner in signs]


def box_of(corners: Sequence[Sequence[float]]) -> tuple[list[float], np.ndarray]:
    """The inverse of `box_corners`: size, and [4, 4] box to RAS."""
    points = np.asarray(corners, dtype=float)
    edges = np.array([points[4] - points[0], points[2] - points[0], points[1] - points[0]])
    size = np.linalg.norm(edges, axis=1)
    box_to_ras = np.eye(4)
    box_to_ras[:3, :3] = (edges / np.where(size > 0, size, 1)[:, None]).T
    box_to_ras[:3, 3] = points.mean(axis=0)
    return [float(v) for v in size], box_to_ras


def common_point(slices_to_ras: Sequence[np.ndarray]) -> list[float] | None:
    """Where three slice views cut each other, in RAS millimetres; none where two of them are parallel.

    Args:
        slices_to_ras: [4, 4] of each view; its third column is the normal, its fourth a point of the plane.
    """
    normals = np.array([m[:3, 2] / np.linalg.norm(m[:3, 2]) for m in slices_to_ras])
    if normals.shape != (3, 3) or abs(np.linalg.det(normals)) < 1e-3:
        return None
    return [float(v) for v in np.linalg.solve(normals, [n @ m[:3, 3] for n, m in zip(normals, slices_to_ras)])]
