"""What the documents promise."""

import re
import types

import pytest
import torch
from omegaconf import OmegaConf

from steepest.build import build
from steepest.config import conf_dir

ROOT = conf_dir().parent
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
pytestmark = pytest.mark.skipif(not DOCUMENTS[0].is_file(), reason="needs the checkout's documents")


def blocks(document, language):
    return re.findall(rf"```{language}\n(.*?)```", document.read_text(), flags=re.DOTALL)


def test_the_optimizer_in_contributing_works_as_shown(monkeypatch):
    [code], [config] = (blocks(ROOT / "CONTRIBUTING.md", language) for language in ("python", "yaml"))
    module = types.ModuleType("steepest.optimizers.sign_sgd")
    exec(code, vars(module))
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    x = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    optimizer = build(OmegaConf.create(config), lr=0.5)([x])
    x.grad = torch.tensor([0.1, -40.0, 0.0])
    optimizer.step()
    assert x.tolist() == [0.5, -1.5, 3.0]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    targets = re.findall(r"\]\(([^)#]+)\)", document.read_text())
    for target in targets:
        assert target.startswith("https://") or (ROOT / target).exists(), target


@pytest.mark.parametrize("group", ["model", "dataset", "optimizer", "schedule", "precision", "trainer", "experiment"])
def test_the_readme_lists_every_value_of_a_group(group):
    [line] = [line for line in DOCUMENTS[0].read_text().splitlines() if line.startswith(f"| `{group}` |")]
    assert {path.stem for path in (conf_dir() / group).glob("*.yaml")} <= set(re.findall(r"`(\w+)`", line))
