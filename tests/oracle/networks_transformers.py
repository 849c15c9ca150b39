"""Networks of Hugging Face `transformers` with random weights, from toy configurations; nothing is downloaded.

`TOKENS` take `[B, 6]` (int64, a vocabulary of 16), `IMAGES` `[B, 3, 8, 8]`. Each returns class scores `[B, 3]`. Empty where the
package is not installed.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn

CLASSES, WORDS, LENGTH, WIDTH = 3, 16, 6, 8
MISSING = "" if find_spec("transformers") else "transformers is not installed (pip install 'ablate[dev]')"


class Logits(nn.Module):
    """The class scores of a model's output object."""

    def __init__(self, model: nn.Module, **given: Any) -> None:
        super().__init__()
        self.model, self.given = model, given

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x, **self.given).logits
        return logits


class T5(nn.Module):
    """The encoder's mean through a head."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).last_hidden_state.mean(1))


def of(name: str, **settings: Any) -> nn.Module:
    """The image or sequence classifier of the configuration `NAMEConfig`."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers

        transformers.logging.set_verbosity_error()
        config = getattr(transformers, f"{name}Config")(**settings, num_labels=CLASSES)
        if name == "T5":
            return T5(transformers.T5EncoderModel(config))
        tokens = "vocab_size" in settings
        kind = "ForSequenceClassification" if tokens else "ForImageClassification"
        return Logits(getattr(transformers, name + kind)(config), **({"use_cache": False} if name == "GPT2" else {}))  # fmt: skip


ENCODER = {
    "vocab_size": WORDS, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
    "max_position_embeddings": LENGTH, "type_vocab_size": 1,
}  # fmt: skip
TOKENS: dict[str, Callable[[], nn.Module]] = {
    "hf_bert": lambda: of("Bert", **ENCODER, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.0),
    "hf_gpt2": lambda: of("GPT2", vocab_size=WORDS, n_positions=LENGTH, n_embd=WIDTH, n_layer=2, n_head=2, n_inner=16, bos_token_id=None, eos_token_id=None,
                          attn_pdrop=0.0, embd_pdrop=0.1, resid_pdrop=0.1, pad_token_id=0),
    "hf_t5": lambda: of("T5", vocab_size=WORDS, d_model=WIDTH, d_kv=4, d_ff=16, num_layers=2, num_heads=2, dropout_rate=0.1),
}  # fmt: skip
IMAGES: dict[str, Callable[[], nn.Module]] = {
    "hf_vit": lambda: of("ViT", image_size=8, patch_size=4, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2,
                         intermediate_size=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
    "hf_convnext": lambda: of("ConvNext", patch_size=2, hidden_sizes=[4, 8], depths=[1, 1], num_stages=2),
    "hf_resnet": lambda: of("ResNet", embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic"),
}  # fmt: skip
if MISSING:
    TOKENS, IMAGES = {}, {}
