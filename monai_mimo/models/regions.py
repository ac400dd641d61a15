"""The part of MIMO that needs no text: regions are outlined by prompts and by names, and called by names."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.conversation import QuestionBatch
from ..data.names import REGION
from ..data.prompt_maps import BOX_MAP, CHANNELS, HAS_LOGITS_MAP, PADDING, POSITIVE_MAP
from .image_encoder import ImageFeatures
from .mask_decoder import MaskDecoder
from .outputs import Pointed
from .prompt_encoder import PromptEncoder
from .region_names import LIKELIEST, OUTLINED, SURE_NAME, TYPICAL, RegionNames, told_by_clicks
from .weights import SavedModel


class RegionModel(SavedModel):
    """What of `Mimo` outlines and names regions; where it has no `region_names`, only `decode` works."""

    prompt_encoder: PromptEncoder
    mask_decoder: MaskDecoder
    region_names: RegionNames | None

    def decode(
        self,
        features: ImageFeatures,
        image_index: Tensor,
        condition: Tensor,
        coordinates: Tensor,
        labels: Tensor,
        prompt_maps: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode M regions of B images by what says which is meant and where, without any text.

        Args:
            image_index: [M], the image of each.
            condition: [M, D], such as `RegionNames.condition` gives.
            coordinates, labels: [M, P, 2] and [M, P], the prompts as tokens (`PromptEncoder`).
            prompt_maps: [M, 5, S / 2, S / 2], the prompts as maps (`data.prompt_maps`), where there is a fine branch.

        Returns:
            mask logits [M, g, g] and predicted IoU [M].
        """
        feature_map = features.feature_map.index_select(0, image_index)
        size = feature_map.shape[2:]
        return self.mask_decoder(
            feature_map + self.prompt_encoder.dense_embeddings(coordinates, labels, size),
            self.prompt_encoder.get_dense_pe(size),
            features.high_resolution,
            image_index,
            condition,
            self.prompt_encoder(coordinates, labels),
            labels == PADDING,
            features.fine,
            prompt_maps,
        )

    @torch.no_grad()
    def outline(self, features: ImageFeatures, questions: QuestionBatch) -> tuple[Tensor, Tensor]:
        """What the prompts of each object show, whatever it is called: mask logits [K, g, g] and predicted IoU [K]."""
        assert self.region_names is not None
        question = questions.map_question
        numbers = torch.arange(len(question), device=question.device)
        own = questions.prompt_object[question] == numbers[:, None]
        labels = torch.where(own, questions.prompt_labels[question], PADDING)
        unnamed = torch.full_like(numbers, self.region_names.region_id)
        condition = self.region_names.condition(unnamed)
        image = questions.image_index[question]
        return self.decode(features, image, condition, questions.coordinates[question], labels, questions.prompt_maps)

    @torch.no_grad()
    def outline_names(self, features: ImageFeatures, image_index: Tensor, names: Tensor) -> tuple[Tensor, Tensor]:
        """What is outlined by numbers of names [M] alone, without prompts: mask logits [M, g, g] and predicted IoU [M]."""
        assert self.region_names is not None
        nowhere = features.context.new_zeros(len(names), 1, 2), torch.full_like(names[:, None], PADDING)
        maps = features.context.new_zeros(len(names), CHANNELS, *[self.config.image_size // 2] * 2)
        logits, scores = self.decode(features, image_index, self.region_names.condition(names), *nowhere, maps)
        return logits.float(), scores

    @torch.no_grad()
    def look_for(self, features: ImageFeatures, image_index: Tensor, names: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What `outline_names` gives, and how likely each name [M] is for how its own outline looks."""
        assert self.region_names is not None
        logits, scores = self.outline_names(features, image_index, names)
        chances = self.region_names.chances(features, image_index, logits.sigmoid())
        return logits, scores, chances.gather(1, names[:, None])[:, 0]

    @torch.no_grad()
    def by_clicks(self, features: ImageFeatures, questions: QuestionBatch, chances: Tensor) -> Tensor:
        """The chances of names [K, N + 1] for what is shown, by its looks, told apart by where it was clicked: neighbours look
        alike, and their outlines by name do not both hold the click. Unchanged in training, and where anything else shows more:
        a box, or the mask that clicks correct, in places where outlines are wrong."""
        shown = questions.prompt_maps.flatten(2).any(2)
        clicked = torch.nonzero(shown[:, POSITIVE_MAP] & ~shown[:, BOX_MAP] & ~shown[:, HAS_LOGITS_MAP])[:, 0]
        if self.training or self.region_names is None or len(clicked) == 0:
            return chances
        likeliest = chances[clicked, :-1].topk(min(LIKELIEST, chances.shape[1] - 1)).indices
        image = questions.image_index[questions.map_question[clicked]].repeat_interleave(likeliest.shape[1])
        outlines, _, alike = self.look_for(features, image, likeliest.flatten())
        outlines = outlines.sigmoid().view(*likeliest.shape, *outlines.shape[-2:])
        clicks = F.adaptive_avg_pool2d(questions.prompt_maps[clicked, POSITIVE_MAP, None], outlines.shape[-2:])
        held = (outlines * clicks).sum((2, 3)) / clicks.sum((2, 3))
        told = told_by_clicks(chances[clicked], likeliest, held, alike.view_as(held), outlines.mean((2, 3)))
        return chances.index_copy(0, clicked, told)

    @torch.no_grad()
    def point_out(self, features: ImageFeatures, questions: QuestionBatch) -> list[Pointed]:
        """What the prompts of one question show, without any words: outlines of it, the best first."""
        names = self.region_names
        assert names is not None
        first = replace(questions, map_question=questions.map_question[:1], prompt_maps=questions.prompt_maps[:1])
        logits, scores = self.outline(features, first)
        image = questions.image_index[:1]
        looks = names.chances(features, image, logits.float().sigmoid())
        told = self.by_clicks(features, first, looks)
        region = names.condition(torch.tensor([names.region_id], device=logits.device))
        found = [Pointed(REGION, 1.0, logits[0], float(scores[0]), region)]
        likeliest = next((c for c, least in ((told, OUTLINED), (looks, TYPICAL)) if c[0, :-1].max() > least), None)
        if likeliest is not None:
            chance, best = likeliest[0, :-1].max(0)
            condition = names.condition(best[None])
            labels = torch.where(questions.prompt_object == 0, questions.prompt_labels, PADDING)
            by_name = self.decode(features, image, condition, questions.coordinates, labels, first.prompt_maps)
            shown = first.prompt_maps[0].flatten(1).any(1)
            if shown[BOX_MAP] and not shown[HAS_LOGITS_MAP]:  # with a name and without, outlines of a box err elsewhere
                condition = torch.cat([condition, region])
                by_name = (by_name[0] + logits) / 2, (by_name[1] + scores) / 2
            sure = likeliest is told and float(chance) > SURE_NAME
            called, probability = (names.names[int(best)], float(chance)) if sure else (REGION, 1.0)
            found.insert(0, Pointed(called, probability, by_name[0][0], float(by_name[1][0]), condition))
        return found

    def describe(self, features: ImageFeatures, questions: QuestionBatch) -> Tensor:
        """What the prompts of each object show, as an embedding beside those of the known names: [K, D]."""
        assert self.region_names is not None
        masks = self.outline(features, questions)[0].float().sigmoid()
        return self.region_names.embed(features, questions.image_index[questions.map_question], masks)
