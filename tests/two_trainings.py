"""A training that is cut after its first stage, and the same command again."""

from __future__ import annotations

import torch

from script_exp.commands import train_tiny


def checkpoint(out, stage):
    """What a stage saved."""
    return torch.load(out / "checkpoints" / f"{stage}.pt", weights_only=True)


def train_in_two(command, out, capsys):
    """Train for a few steps in two commands, of which the second leaves the first stage as it is."""
    command = [*command, "--smoke", "--threads", "1", "--out", str(out)]
    train_tiny.main([*command, "--stage", "vision"])
    vision = checkpoint(out, "vision")["module"]
    train_tiny.main(command)
    weights = out / "weights"
    assert capsys.readouterr().out.split()[-1] == str(weights)
    again = checkpoint(out, "vision")["module"]
    assert all(torch.equal(value, again[name]) for name, value in vision.items())
    return weights
