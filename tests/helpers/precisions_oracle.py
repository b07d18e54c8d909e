"""What the tests of precisions share: graphs, null spaces, generalised variances."""

import numpy as np
import scipy.sparse as sp
import support
from scipy.spatial import Delaunay

from padchol.precisions.mesh import Mesh


def adjacency(islands=False):
    """A grid of 12 areas, a path of 4, and (for `islands`) an area alone."""
    both = sp.block_diag([support.grid(3, 4), support.path(4)], "csr")
    W = sp.csr_array((both != 0).astype(float))
    W.setdiag(0)
    W.eliminate_zeros()
    return sp.block_diag([W, sp.csr_array((1, 1))], "csr") if islands else W


def laplacian(W):
    W = W.toarray()
    return np.diag(W.sum(1)) - W


def check_null(Q, *parameters):
    """The basis given is that of the zero eigenvalues: orthogonal to Q, and of their number."""
    dense, N = Q.matrix(*parameters).toarray(), np.asarray(Q.null(*parameters))
    values = np.linalg.eigvalsh(dense)
    assert np.sum(values < 1e-10 * values.max()) == N.shape[1] == Q.rank_deficiency
    assert np.linalg.matrix_rank(N) == N.shape[1]
    np.testing.assert_allclose(dense @ N, 0, atol=1e-12 * values.max())
    assert abs(np.linalg.det(Q.constraints @ N)) > 1e-12


def generalised_variance(Q):
    """The geometric mean of the diagonal of the generalised inverse."""
    return np.exp(np.mean(np.log(np.diag(np.linalg.pinv(Q, rcond=1e-11, hermitian=True)))))


def scattered_mesh(n=40):
    """Delaunay's triangles of random points of the unit square and its corners."""
    inner = np.random.default_rng(0).uniform(0, 1, (n, 2))
    nodes = np.concatenate([[[0, 0], [1, 0], [0, 1], [1, 1]], inner])
    return Mesh(nodes, Delaunay(nodes).simplices)
