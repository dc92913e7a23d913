"""The claims of the theory that `lindyn.verify` checks. Read `claim` first.

Each claim computes a residual on a random problem. A wrong equation makes the residual larger
than the claim's tolerance. Equation numbers are those of Tian, Chen and Ganguli, ICML 2021
(arXiv 2102.06810); "derived" marks what the paper does not state.
"""

# These imports register the claims; the order of the modules is the order of the claims.
from lindyn.verify.claims import networks, steps, alignment, modes, fates, cosine  # noqa: F401, I001
from lindyn.verify.claims.claim import CLAIMS as CLAIMS, Claim as Claim
