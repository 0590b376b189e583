"""What every job would do first, done once in the server that they are forked from; it leaves caches, and no state."""

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from steepest.runs.identity import collect

collect("steepest.fit", {})  # reads the imports of the training line's source, again where a file has changed
OverridesParser.create().parse_overrides(["key=1e-3", "a.b=[x,{y: 'z'}]", "~c", "+d=null"])
assert OmegaConf.create({"a": "${b}", "b": 1}).a == 1
