"""The plain decoder gives what SAM's own modules give; its fine branch adds nothing at first, then tells by prompt and name."""

from __future__ import annotations

import pytest
import torch
from segment_anything.modeling import TwoWayTransformer
from torch.nn import functional as F

from monai_mimo.data.conversation import ABSENT, PRESENT, UNNAMED
from monai_mimo.data.prompt_maps import CHANNELS
from monai_mimo.models.config import MaskDecoderConfig
from monai_mimo.models.image_encoder import FineNeck
from monai_mimo.models.mask_decoder import FineDecoder, MaskDecoder, MaskedTwoWayTransformer
from monai_mimo.models.mimo import Mimo
from monai_mimo.transforms.resize import SquareResize

from ..conftest import collate_all, encode, make_nano

H, W, D = 8, 6, 32


@pytest.mark.parametrize("padded", [0, 2])
def test_transformer_is_sams(padded: int) -> None:
    """Padded tokens change nothing for the others."""
    transformer = MaskedTwoWayTransformer(2, D, 2, 64)
    image, place, tokens = torch.randn(3, D, H, W), torch.randn(3, D, H, W), torch.randn(3, 5, D)
    expected = TwoWayTransformer.forward(transformer, image, place, tokens)
    padding = torch.tensor([[False] * 5 + [True] * padded] * 3)
    got_tokens, got_image = transformer(image, place, torch.cat([tokens, torch.randn(3, padded, D)], 1), padding)
    torch.testing.assert_close(got_tokens[:, :5], expected[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(got_image, expected[1], atol=1e-5, rtol=1e-4)


def test_upscaling_is_sams_with_finer_maps_added() -> None:
    """Two images, three masks, through SAM's own transposed convolutions one after the other."""
    decoder = MaskDecoder(MaskDecoderConfig(D, 2, 2, 64), 24).eval()
    image, place = torch.randn(3, D, H, W), torch.randn(1, D, H, W)
    fine, finer = torch.randn(2, D // 4, 2 * H, 2 * W), torch.randn(2, D // 8, 4 * H, 4 * W)
    index, states, prompts = torch.tensor([1, 0, 1]), torch.randn(3, 24), torch.randn(3, 2, D)
    padding = torch.zeros(3, 2, dtype=torch.bool)
    logits, scores = decoder(image, place, (fine, finer), index, decoder.text_projection(states), prompts, padding)

    output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).expand(3, -1, -1)
    tokens = torch.cat([output_tokens, decoder.text_projection(states)[:, None], prompts], dim=1)
    with_no_mask = image + decoder.no_mask_embed.weight[:, :, None, None]
    tokens, x = TwoWayTransformer.forward(decoder.transformer, with_no_mask, place.expand(3, -1, -1, -1), tokens)
    up1, norm, activation1, up2, activation2 = decoder.output_upscaling
    x = activation1(norm(up1(x.transpose(1, 2).view(3, D, H, W)) + fine[index]))
    x = activation2(up2(x) + finer[index])
    expected = torch.einsum("mc,mchw->mhw", decoder.output_hypernetworks_mlps[0](tokens[:, 1]), x)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores, decoder.iou_prediction_head(tokens[:, 0])[:, 0], atol=1e-5, rtol=1e-4)


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
        tells = mimo.region_names.tell(mimo.region_names.logits(mimo.describe(features, asked)).softmax(1))
        assert mimo.encode_prompts(features, asked).names.tolist() == [[int(tells)] * 2]


def test_the_language_model_is_told_which_of_the_names_asked_for_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    aligner = {"queries": 2, "width": 16, "layers": 1, "heads": 2, "presence": True, "names": True}
    mimo = make_nano(mask_decoder=FINE, aligner=aligner, names={"liver": (), "spleen": ()}).eval()
    questions = [encode(mimo, "Where is the liver, and where the spleen?"), encode(mimo, "What is it?")]
    questions.append(encode(mimo, "Is this the spleen?", boxes=[(2, 2, 20, 20)]))
    batch = collate_all(mimo, questions)
    assert set(batch.asked[0].tolist()) == {-1, 0, 1}
    assert set(batch.asked[1].tolist()) == {-1}
    features = mimo.encode(torch.rand(1, 3, 64, 64))

    def told(liver: float, spleen: float, logit: float = 1.0) -> list[set[int]]:
        """What is told of "liver" and "spleen" of the first question, and of "spleen" in the last."""
        decode = mimo.decode
        with monkeypatch.context() as patch:
            chances = torch.tensor([liver, spleen, 1 - liver - spleen])
            patch.setattr(mimo.region_names, "logits", lambda described: chances.log().expand(len(described), -1))
            patch.setattr(mimo, "decode", lambda *a: (decode(*a)[0] * 0 + logit, decode(*a)[1]))
            presence = mimo.encode_prompts(features, batch).presence
        parts = [(0, 0), (0, 1), (2, 1)]
        assert not presence[batch.asked < 0].clamp(min=0).any()  # nothing of other words
        return [set(presence[q][batch.asked[q] == name].tolist()) for q, name in parts]

    assert told(0.9, 0.001) == [{PRESENT}, {ABSENT}, {ABSENT}]
    assert told(0.4, 0.5) == [{PRESENT}, {PRESENT}, {PRESENT}]
    assert told(0.9, 0.05) == [{PRESENT}, {PRESENT}, {ABSENT}]  # what is marked has to look more like it
    assert told(0.4, 0.5, logit=-1.0) == [{ABSENT}, {ABSENT}, {PRESENT}]  # empty masks


def test_in_training_the_presence_is_what_the_answer_tells() -> None:
    aligner = {"queries": 2, "width": 16, "layers": 1, "heads": 2, "presence": True, "names": True}
    mimo = make_nano(mask_decoder=FINE, aligner=aligner, names={"liver": (), "spleen": ()})
    resize, text = SquareResize(48, 64, 64), "Where are liver, spleen and kidney?"
    named = {"liver": True, "spleen": False, "kidney": False}
    asked = mimo.conversation().encode(text, resize, named=named)
    kinds = {name: {p for p, a in zip(asked.presence, asked.asked) if a == name} for name in (-1, 0, 1)}
    assert kinds == {-1: {UNNAMED}, 0: {PRESENT}, 1: {ABSENT}}  # of names that are not known nobody could tell it
    no = "No, this is the <p> spleen </p> <SEG>."
    marked = mimo.conversation().encode(
        "Is this the liver?", resize, boxes=[(2, 2, 20, 20)], answer=no, named={"liver": True, "spleen": True}
    )
    assert {p for p, a in zip(marked.presence, marked.asked) if a == 0} == {
        ABSENT
    }  # it is in the image, but not what is meant
