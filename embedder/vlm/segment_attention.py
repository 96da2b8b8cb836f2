"""Attention within the segments of a sequence: Qwen's pictures, and Qwen2.5-VL's windows in them.

transformers attends to them one by one and asks the device for their lengths in every layer; with
four large pictures, Qwen2.5-VL makes 827 calls in four layers. Segments of one length are a batch:
20 calls, and the same numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ATTENTION_NAME = (
    "polylens_flash_segments"  # transformers tells segments only to what has flash in its name
)


def install_segment_attention(vision: Any) -> None:
    """Let the vision tower `vision` attend so."""
    from torch.utils.weak import WeakTensorKeyDictionary
    from transformers import AttentionInterface

    groups_by_bounds: Any = (
        WeakTensorKeyDictionary()
    )  # bounds are the same in all layers of a batch

    def attention(
        module: object,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: None = None,
        **given: Any,
    ) -> tuple[torch.Tensor, None]:
        bounds = given["cu_seq_lens_q"]
        if bounds not in groups_by_bounds:
            groups_by_bounds[bounds] = group_segments(bounds)
        return attend_segments(query, key, value, groups_by_bounds[bounds], given["scaling"]), None

    AttentionInterface.register(ATTENTION_NAME, attention)
    vision.config._attn_implementation = ATTENTION_NAME


def group_segments(bounds: torch.Tensor) -> list[torch.Tensor]:
    """(segments + 1,) bounds -> for each length that there is, (count, length) places."""
    import torch

    starts, lengths = bounds[:-1], bounds.diff()
    return [
        starts[lengths == length][:, None] + torch.arange(length, device=bounds.device)
        for length in sorted(set(lengths.tolist()))
        if length
    ]


def attend_segments(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segments: list[torch.Tensor],
    scaling: float,
) -> torch.Tensor:
    """(1, heads, n, dim) each -> (1, n, heads, dim); every place of n is in one of the segments."""
    from torch.nn.functional import scaled_dot_product_attention

    out = query.new_empty(query.shape[2], query.shape[1], query.shape[3])  # (n, heads, dim)
    for rows in segments:  # (count, length)
        queries, keys, values = (x[0][:, rows].transpose(0, 1) for x in (query, key, value))
        attended = scaled_dot_product_attention(queries, keys, values, scale=scaling)
        out[rows] = attended.transpose(1, 2)  # from (count, heads, length, dim)
    return out[None]
