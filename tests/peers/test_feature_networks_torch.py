"""Feature networks beside PyTorch's on the same random weights, through files that PyTorch wrote."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.interop import inception, resnet
from jaxgen.metrics.features import extract
from jaxgen.nets.inception import WIDTHS
from tests.peers.fidelity_import import import_fidelity

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers
nn = torch.nn


def stirred(module, seed=0):
    """Weights, and statistics of the normalisations, at which every one of them matters."""
    torch.manual_seed(seed)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.ndim > 1:
            nn.init.kaiming_normal_(tensor.data)
        elif name.endswith("running_var"):
            tensor.data.uniform_(0.5, 1.5)
        elif name.endswith("weight"):
            tensor.data.uniform_(0.7, 1.3)
        elif tensor.is_floating_point():
            tensor.data.normal_(0, 0.2)
    return module.eval()


def relative(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def channels_last(x):
    return np.moveaxis(x.numpy(), 1, -1)


@pytest.fixture(scope="module")
def fidelity():
    """The network of torch-fidelity."""
    module = import_fidelity("feature_extractor_inceptionv3")
    with pytest.MonkeyPatch.context() as patch:  # no weights can be had here: keep those that it starts with
        patch.setattr(module, "load_state_dict_from_url", lambda *a, **k: {})
        patch.setattr(nn.Module, "load_state_dict", lambda *a, **k: None)
        net = module.FeatureExtractorInceptionV3("inception", [str(w) for w in WIDTHS])
    return stirred(net)


@pytest.mark.parametrize("size", [(64, 80), (299, 299), (350, 310)])
def test_inception_gives_the_features_of_torch_fidelity(fidelity, tmp_path, size):
    torch.save(fidelity.state_dict(), tmp_path / "inception.pth")
    images = torch.randint(0, 256, (3, 3, *size), dtype=torch.uint8)
    with torch.no_grad():
        expected = dict(zip(WIDTHS, fidelity(images), strict=True))
    params = inception.load(tmp_path / "inception.pth")
    ours = channels_last(images).astype(np.float32) / 127.5 - 1
    for width in WIDTHS if size == (64, 80) else WIDTHS[-1:]:
        found = extract(inception.of_params(params, width), ours, batch=3).values
        assert relative(found, expected[width].numpy()) < 2e-6


def test_inception_of_another_network_is_refused(fidelity, tmp_path):
    state = dict(fidelity.state_dict())
    torch.save({**state, "fc.weight": torch.zeros(1000, 2048)}, tmp_path / "torchvision.pth")
    with pytest.raises(UserError, match="another Inception"):
        inception.load(tmp_path / "torchvision.pth")
    state.pop("Mixed_6c.branch7x7_2.bn.running_var")
    torch.save(state, tmp_path / "cut.pth")
    with pytest.raises(UserError, match=r"lacks tensor Mixed_6c\.branch7x7_2\.bn\.running_var"):
        inception.load(tmp_path / "cut.pth")


class Bottleneck(nn.Module):
    """As in torchvision, and with `keras` as in Keras: biases, and the stride in the first convolution."""

    def __init__(self, into, width, stride, keras):
        super().__init__()
        options = {"bias": keras}
        epsilon = 1.001e-5 if keras else 1e-5
        self.conv1 = nn.Conv2d(into, width, 1, stride if keras else 1, **options)
        self.conv2 = nn.Conv2d(width, width, 3, 1 if keras else stride, 1, **options)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, **options)
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(w, epsilon) for w in (width, width, 4 * width))
        self.downsample = None
        if stride > 1 or into != 4 * width:
            norm = nn.BatchNorm2d(4 * width, epsilon)
            self.downsample = nn.Sequential(nn.Conv2d(into, 4 * width, 1, stride, **options), norm)

    def forward(self, x):
        h = torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))
        return torch.relu(self.bn3(self.conv3(h)) + (x if self.downsample is None else self.downsample(x)))


def resnet50(keras=False):
    layers, into = [], 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 * 2**stage
        row = []
        for i in range(blocks):
            row.append(Bottleneck(into, width, 2 if i == 0 and stage else 1, keras))
            into = 4 * width
        layers.append(nn.Sequential(*row))
    stem = nn.Conv2d(3, 64, 7, 2, 3, bias=keras)
    norm = nn.BatchNorm2d(64, 1.001e-5 if keras else 1e-5)
    return nn.Sequential(stem, norm, nn.ReLU(), nn.MaxPool2d(3, 2, 1), *layers)


def named(net, authors):
    """The state dict in torchvision's names, or in those of RadImageNet's authors."""
    first = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}

    def name(key):
        number, rest = key.split(".", 1)
        return f"backbone.{key}" if authors else f"{first[number]}.{rest}"

    return {name(key): x for key, x in net.state_dict().items()}


@pytest.mark.parametrize(("authors", "keras"), [(True, False), (False, False), (False, True)])
def test_radimagenet_gives_the_features_of_the_pytorch_network(tmp_path, authors, keras):
    net = stirred(resnet50(keras))
    torch.save(named(net, authors), tmp_path / "ResNet50.pt", _use_new_zipfile_serialization=not keras)
    images = torch.rand(2, 1, 64, 64) * 2 - 1
    if keras:  # blue first, in [0, 1], less ImageNet's means
        mean = torch.tensor([0.406, 0.456, 0.485]).view(1, 3, 1, 1)
        theirs = (images.repeat(1, 3, 1, 1) + 1) / 2 - mean
    else:
        theirs = images.repeat(1, 3, 1, 1)
    with torch.no_grad():
        expected = net(theirs).mean((2, 3)).numpy()
    extractor = resnet.radimagenet(tmp_path / "ResNet50.pt", size=None)
    assert extractor.name == ("radimagenet-keras" if keras else "radimagenet")
    assert relative(extract(extractor, channels_last(images)).values, expected) < 5e-6


@pytest.mark.parametrize(("depth", "shortcut"), [(10, "B"), (18, "A"), (50, "B")])
def test_volumes_give_the_features_of_monai(tmp_path, depth, shortcut):
    nets = pytest.importorskip("monai.networks.nets")
    make = getattr(nets, f"resnet{depth}")
    net = stirred(
        make(spatial_dims=3, n_input_channels=1, feed_forward=False, shortcut_type=shortcut, conv1_t_stride=2)
    )
    torch.save({"state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "net.pth")
    volumes = torch.randn(2, 1, 24, 32, 20)
    with torch.no_grad():
        expected = net(volumes).numpy()
    loaded = resnet.load(tmp_path / "net.pth")
    found = jax.jit(loaded.net.apply)(loaded.params, jnp.asarray(channels_last(volumes)))
    assert relative(np.asarray(found), expected) < 5e-6


def dilate(net):
    """MONAI's network with MedicalNet's last two stages: no stride, dilated by 2 and 4."""
    for layer, dilation in ((net.layer3, 2), (net.layer4, 4)):
        for module in layer.modules():
            if isinstance(module, nn.Conv3d):
                module.stride = (1, 1, 1)
                if module.kernel_size == (3, 3, 3):
                    module.dilation = module.padding = (dilation,) * 3
    return net


def test_medicalnet_gives_the_features_of_the_dilated_network(tmp_path):
    nets = pytest.importorskip("monai.networks.nets")
    options = {"bias_downsample": False, "conv1_t_stride": 2}
    net = dilate(stirred(nets.resnet10(spatial_dims=3, n_input_channels=1, feed_forward=False, **options)))
    torch.save(net.state_dict(), tmp_path / "resnet_10_23dataset.pth")
    volumes = 5 + 2 * torch.randn(2, 1, 24, 32, 20)
    axes = (1, 2, 3, 4)
    standard = (volumes - volumes.mean(axes, keepdim=True)) / volumes.std(axes, keepdim=True, unbiased=False)
    with torch.no_grad():
        expected = net(standard).numpy()
    found = extract(resnet.medicalnet(tmp_path / "resnet_10_23dataset.pth"), channels_last(volumes)).values
    assert relative(found, expected) < 5e-6
