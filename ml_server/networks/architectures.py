"""The closed table of architectures: what a specification's `kind` builds."""

from ml_server.networks.cnn import Cnn
from ml_server.networks.manageable_model import ManageableModel
from ml_server.networks.mlp import Mlp
from ml_server.networks.registered_module import RegisteredModule
from ml_server.networks.torch_graph import TorchGraph

ARCHITECTURES: dict[str, type[ManageableModel]] = {
    "mlp": Mlp,
    "cnn": Cnn,
    "torch_graph": TorchGraph,
    "registered_module": RegisteredModule,
}
