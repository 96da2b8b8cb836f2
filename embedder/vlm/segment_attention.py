"""Attention within the segments of a sequence: Qwen's images, and Qwen2.5-VL's windows in them.

transformers attends to them one by one and asks the device for their lengths in every layer: with
four large images, Qwen2.5-VL makes 827 calls in four layers. Here segments of one length are a
batch: 20 calls, and the same result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ATTENTION_NAME = "polylens_flash_segments"  # transformers passes segments only to names with flash


def install_segment_attention(vision: Any) -> None:
    """Make the vision tower `vision` use this attention."""
    from torch.utils.weak import WeakTensorKeyDictionary
    from transformers import AttentionInterface

    groups_by_bounds: Any = WeakTensorKeyDictionary()  # all layers of a batch have the same bounds

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
    """Group (segments + 1,) bounds by length; each group is (count, length) positions."""
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
    """Attend (1, heads, n, dim) within segments, which cover all n; returns (1, n, heads, dim)."""
    from torch.nn.functional import scaled_dot_product_attention

    out = query.new_empty(query.shape[2], query.shape[1], query.shape[3])  # (n, heads, dim)
    for rows in segments:  # (count, length)
        queries, keys, values = (x[0][:, rows].transpose(0, 1) for x in (query, key, value))
        attended = scaled_dot_product_attention(queries, keys, values, scale=scaling)
        out[rows] = attended.transpose(1, 2)  # from (count, heads, length, dim)
    return out[None]
