"""The fine branch adds nothing at its start, gives each mask what it would get alone, and can tell by prompt and by name."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from monai_mimo.data.prompt_maps import CHANNELS
from monai_mimo.models.config import MaskDecoderConfig
from monai_mimo.models.image_encoder import FineNeck
from monai_mimo.models.mask_decoder import FineDecoder, MaskDecoder
from monai_mimo.models.mimo import Mimo

from ..conftest import collate_all, encode, make_nano

WIDTHS = (8, 8, 16, 16, 16)
FINE = {"width": 32, "layers": 2, "heads": 2, "mlp_width": 64, "fine": WIDTHS}


def features(images: int = 2, grid: int = 32) -> tuple[torch.Tensor, ...]:
    return tuple(torch.randn(images, c, grid >> n, grid >> n) for n, c in enumerate(WIDTHS))


def woken(decoder: FineDecoder) -> FineDecoder:
    """As after some training: no weight is zero."""
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return decoder


def test_it_adds_nothing_before_it_is_trained() -> None:
    index, prompts = torch.tensor([0, 1, 1]), torch.rand(3, CHANNELS, 32, 32)
    logits, scores = FineDecoder(WIDTHS, 24)(features(), index, torch.randn(3, 24), prompts)
    assert logits.shape == (3, 32, 32)
    assert not logits.any()
    assert not scores.any()


def test_a_decoder_without_it_is_as_published() -> None:
    plain = MaskDecoder(MaskDecoderConfig(32, 2, 2, 64), 24)
    fine = MaskDecoder(MaskDecoderConfig(32, 2, 2, 64, fine=WIDTHS), 24)
    assert plain.fine is None
    assert {n for n in fine.state_dict() if not n.startswith("fine.")} == set(plain.state_dict())
    fine.load_state_dict(plain.state_dict(), strict=False)
    image, place, index = torch.randn(2, 32, 8, 8), torch.randn(1, 32, 8, 8), torch.tensor([0, 1])
    given = image, place, (), index, torch.randn(2, 32), torch.randn(2, 1, 32), torch.zeros(2, 1, dtype=torch.bool)
    expected, scores = plain(*given)
    logits, fine_scores = fine(*given, features(), torch.rand(2, CHANNELS, 32, 32))
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(fine_scores, scores)


def test_masks_of_a_batch_do_not_meet() -> None:
    decoder, image = woken(FineDecoder(WIDTHS, 24)), features()
    condition, prompts, index = torch.randn(3, 24), torch.rand(3, CHANNELS, 32, 32), torch.tensor([1, 0, 1])
    together, scores = decoder(image, index, condition, prompts)
    for m in range(3):
        own = tuple(level[index[m] : index[m] + 1] for level in image)
        alone, score = decoder(own, torch.tensor([0]), condition[m : m + 1], prompts[m : m + 1])
        torch.testing.assert_close(together[m : m + 1], alone, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(scores[m : m + 1], score, atol=1e-4, rtol=1e-4)


def test_it_learns_that_prompt_and_name_decide() -> None:
    """Two squares in one image; a prompt, or without one a name, says which."""
    torch.manual_seed(0)
    neck, decoder = FineNeck((3,) * 5, WIDTHS), FineDecoder(WIDTHS, 8)
    image = torch.zeros(1, 3, 32, 32)
    masks = torch.zeros(2, 32, 32)
    masks[0, 4:12, 4:12] = masks[1, 18:28, 16:30] = 1
    image[0, 0], image[0, 1] = masks.sum(0), masks[1]
    maps = [F.avg_pool2d(image, 2**n) if n else image for n in range(5)]
    prompts = torch.zeros(4, CHANNELS, 32, 32)
    prompts[0, 1, 8, 8] = prompts[1, 1, 22, 22] = 1  # clicks; the last two are asked for by name
    names = torch.nn.Embedding(3, 8)
    asked, wanted = torch.tensor([2, 2, 0, 1]), torch.cat([masks, masks])
    optimizer = torch.optim.Adam([*neck.parameters(), *decoder.parameters(), *names.parameters()], 1e-2)
    for _ in range(150):
        logits, _ = decoder(neck(maps), torch.zeros(4, dtype=torch.long), names(asked), prompts)
        loss = F.binary_cross_entropy_with_logits(logits, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = logits > 0
    iou = (found & wanted.bool()).sum((1, 2)) / (found | wanted.bool()).sum((1, 2))
    assert iou.min() > 0.8


def model() -> Mimo:
    torch.manual_seed(0)
    return make_nano(mask_decoder=FINE, names={"liver": (), "spleen": ()}).eval()


def test_two_boxes_of_a_question_are_described_apart() -> None:
    mimo = model()
    woken(mimo.mask_decoder.fine)
    image = torch.rand(1, 3, 64, 64)
    boxes = [(2, 2, 20, 20), (30, 30, 60, 44)]
    both = collate_all(mimo, [encode(mimo, "What are <box> and <box>?", boxes=boxes)])
    apart = collate_all(mimo, [encode(mimo, "What is <box>?", boxes=[box]) for box in boxes])
    with torch.no_grad():
        seen = mimo.encode(image)
        torch.testing.assert_close(mimo.describe(seen, both), mimo.describe(seen, apart), atol=1e-4, rtol=1e-3)
        assert not torch.allclose(*mimo.describe(seen, both))


def test_a_scribble_and_the_mask_before_reach_the_masks() -> None:
    mimo = model()
    woken(mimo.mask_decoder.fine)
    line = torch.zeros(48, 64, dtype=torch.bool).numpy()
    line[20, 10:40] = True
    answer = "It is the <p> liver </p> <SEG>."
    logits = torch.full((32, 32), 5.0).numpy()
    questions = [
        encode(mimo, "What is this?", answer),
        encode(mimo, "What is this?", answer, scribbles=(line, None)),
        encode(mimo, "What is this?", answer, scribbles=(None, line)),
        encode(mimo, "What is this?", answer, logits=logits),
    ]
    with torch.no_grad():
        masks = mimo(torch.rand(1, 3, 64, 64), collate_all(mimo, questions, generate=False)).mask_logits
    for a in range(4):
        for b in range(a):
            assert not torch.allclose(masks[a], masks[b])


def test_a_state_at_seg_is_drawn_to_the_name_that_is_meant() -> None:
    mimo = model()
    batch = collate_all(mimo, [encode(mimo, "Where is the spleen?", "The <p> spleen </p> <SEG>.")], generate=False)
    assert batch.seg_names.tolist() == [1]
    naming = mimo(torch.rand(1, 3, 64, 64), batch).naming
    naming.backward()
    assert naming > 0
    assert mimo.region_names.embedding.weight.grad is None  # the names stay where they are
    assert mimo.mask_decoder.text_projection[0].weight.grad.any()


def test_the_language_model_is_told_the_names_of_what_prompts_show() -> None:
    torch.manual_seed(0)
    aligner = {"queries": 2, "width": 16, "layers": 1, "heads": 2, "names": True}
    mimo = make_nano(mask_decoder=FINE, aligner=aligner, names={"liver": (), "spleen": ()}).eval()
    answer = "This is the <p> spleen </p> <SEG>."
    known = collate_all(mimo, [encode(mimo, "What is <box>?", boxes=[(2, 2, 20, 20)], answer=answer)], generate=False)
    assert known.shown_names.tolist() == [1]
    asked = collate_all(mimo, [encode(mimo, "What is <box>?", boxes=[(2, 2, 20, 20)], answer=answer)])
    assert asked.shown_names.tolist() == [-1]  # an answer that is to be written tells nothing
    with torch.no_grad():
        features = mimo.encode(torch.rand(1, 3, 64, 64))
        prompted = mimo.encode_prompts(features, known)
        assert prompted.names.tolist() == [[1, 1]]  # both corners of the box
        told, _, _ = mimo.embed_inputs(prompted, known)
        silent, _, _ = mimo.embed_inputs(prompted._replace(names=None), known)
        at = known.input_ids[0] == mimo.box_id
        words = mimo.tokenizer("spleen", add_special_tokens=False)["input_ids"]
        mean = mimo.language_model.embed(torch.tensor(words)).mean(0)  # the projection starts as the identity
        torch.testing.assert_close((told - silent)[0, at], mean.expand(2, -1))
        assert not (told - silent)[0, ~at].any()
        tells = mimo.region_names.tell(mimo.describe(features, asked))
        assert mimo.encode_prompts(features, asked).names.tolist() == [[int(tells)] * 2]
