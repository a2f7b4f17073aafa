"""Views, likes, dislikes and comments -> the privileged group ``engagement`` that T3 and T4 share.

Counts were taken long after posting: a student can never have them, and no label may be derived from them.
"""

from __future__ import annotations

import math

from training.data.manifest import PrivilegedGroup

GROUP = PrivilegedGroup(
    name="engagement",
    features=(
        "log1p_views",
        "log1p_likes",
        "log1p_dislikes",
        "log1p_comments",
        "likes_per_view",
        "dislikes_per_view",
        "comments_per_view",
        "like_share",
    ),
)


def features(
    views: float, likes: float | None, dislikes: float | None, comments: float | None
) -> dict[str, float | None]:
    """Four log counts and four ratios; None where a count is hidden or a ratio is undefined.

    Args:
        views: at least 0.
        likes, dislikes, comments: at least 0, or None where the page hides them.
    """
    votes = None if likes is None or dislikes is None else likes + dislikes
    return {
        "log1p_views": math.log1p(views),
        "log1p_likes": _log1p(likes),
        "log1p_dislikes": _log1p(dislikes),
        "log1p_comments": _log1p(comments),
        "likes_per_view": _ratio(likes, views),
        "dislikes_per_view": _ratio(dislikes, views),
        "comments_per_view": _ratio(comments, views),
        "like_share": _ratio(likes, votes),
    }


def _log1p(count: float | None) -> float | None:
    return None if count is None else math.log1p(count)


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole
