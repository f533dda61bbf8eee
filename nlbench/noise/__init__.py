"""Label noise: the kinds, their labels and class maps, one call for all; images are read elsewhere.

Convention: ``T[i, j] = P(noisy = j | clean = i)``, rows sum to 1 (the transpose of cleanlab's).
Draws depend on the clean labels, the kind, the rate and the seed (and on the images, where noise is
instance-dependent), and on nothing else: not on the selector, not on the training seed's other
uses, not on what was drawn before.
"""

from __future__ import annotations

from nlbench.noise.corrupt import NoisyLabels, corrupt

__all__ = ["NoisyLabels", "corrupt"]
