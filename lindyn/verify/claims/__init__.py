"""The theory's claims, each as a residual on a random problem that a wrong equation spoils.

Numbers are those of Tian, Chen and Ganguli, ICML 2021 (arXiv 2102.06810); "derived" marks
what the paper does not state.
"""

from lindyn.verify.claims import networks, steps, alignment, modes, fates, cosine  # noqa: F401, I001  in this order
from lindyn.verify.claims.claim import CLAIMS as CLAIMS, Claim as Claim
