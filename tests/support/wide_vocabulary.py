"""A model of the arithmetic task with a vocabulary far larger than any search can try out."""

from __future__ import annotations

import copy

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from dpc.lm.models import LanguageModel, wrap
from dpc.tasks.arithmetic import VOCABULARY


def widened(lm: LanguageModel, extra: int, seed: int = 0) -> LanguageModel:
    """Return the embedded model with so many more tokens, whose embeddings are drawn from the distribution of its own.

    Mean and covariance are those of its tokens that are text. Its head is tied, so it also says the new tokens now and
    then: to nothing but their vectors are they different from the others.
    """
    model = copy.deepcopy(lm.model)
    own_VD = lm.embedding.weight.detach()
    text_VD = own_VD[len(lm.tokenizer.all_special_ids) :]
    spread_DD = torch.linalg.cholesky(torch.cov(text_VD.T) + 1e-6 * torch.eye(own_VD.shape[1]))
    drawn_VD = torch.randn(extra, own_VD.shape[1], generator=torch.Generator().manual_seed(seed))
    model.resize_token_embeddings(len(own_VD) + extra)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(torch.cat([own_VD, text_VD.mean(0) + drawn_VD @ spread_DD.T]))
    return wrap(model, _tokenizer(extra), bos=True)


def _tokenizer(extra: int) -> PreTrainedTokenizerFast:
    words = {word: i for i, word in enumerate([*VOCABULARY, *(f"w{i}" for i in range(extra))])}
    core = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<pad>"
    )
