"""Models of an experiment trained side by side on a Ray cluster, each as a trial of Ray Tune."""

import dataclasses
import io
import json
import os
import socket
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store.errors import MissingError, UserError
from store.progress import Progress, silent
from train.recipe import Recipe
from train.rows import TrainingSplit
from train.trials import Laboratory, Trial

if TYPE_CHECKING:
    from ray.tune.experiment import Trial as Ran

INSTALL = 'pip install "uncited[ray]"'
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it reports to its makers otherwise
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # what trials reach is kept here
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the command
}


def train_on_ray(
    place: Laboratory, split: TrainingSplit, recipes: Sequence[Recipe], *, address: str, progress: Progress = silent
) -> None:
    """Train and measure by each recipe what `place` does not keep yet; it keeps each as soon as that is there.

    As many models are trained at a time as the cluster has GPUs, or processor cores where it has no GPU. On machines
    that share the folder of the experiments, a model that was stopped in the middle goes on.

    Args:
        place: measures the models, and keeps what they reached.
        split: what to train on.
        recipes: complete ones.
        address: of the cluster: `auto` for the one that this machine is part of, HOST:PORT, or `local` to start one on
            this machine for as long as it takes.
        progress: told of the models.

    Raises:
        MissingError: Ray is not installed, or there is no such cluster.
        UserError: some models could not be trained; what the others reached is kept.
    """
    named = {place.trial_id(split, recipe): _movable(recipe) for recipe in recipes}
    waiting = {trial_id: recipe for trial_id, recipe in named.items() if not place.keeps(trial_id)}
    if not waiting:
        return
    failed: list[str] = []

    def ended(trial_id: str, told: Mapping[str, Any]) -> None:
        recipe = waiting[trial_id]
        name = f"{recipe.loss}, {recipe.learning_rate:g}, seed {recipe.seed}"
        if "values" in told:
            place.keep(trial_id, Trial(**told))
        else:
            failed.append(f"{name}: {told['error']}")
        progress.advance(1, name)

    with _cluster(address) as gpus:
        progress.start("models on Ray", len(waiting))
        _run(partial(_train, place=place, split=split), waiting, gpus, ended)
    if failed:
        raise UserError(
            f"{len(failed)} of {len(waiting)} models could not be trained on Ray; the first: {failed[0]}",
            hint="correct the plan and run the command again: what the others reached is kept",
        )


def _movable(recipe: Recipe) -> Recipe:
    """Name models in folders so that they are found from every folder."""
    return dataclasses.replace(recipe, base_model=_absolute(recipe.base_model), guide=_absolute(recipe.guide))


def _absolute(model: str) -> str:
    return str(Path(model).resolve()) if model and Path(model).is_dir() else model


def _train(recipe: Recipe, *, place: Laboratory, split: TrainingSplit) -> dict[str, Any]:
    """Train and measure one model, wherever the cluster does so; tell what it reached, or what went wrong."""
    with tempfile.TemporaryDirectory() as folder:
        if not place.folder.parent.parent.is_dir():  # the workspace is on another machine's disk
            place = dataclasses.replace(place, folder=Path(folder))
        try:
            return dataclasses.asdict(place.trained(split, recipe, silent))
        except UserError as error:
            return {"error": error.message}


@contextmanager
def _cluster(address: str) -> Generator[int]:
    """Connect to a cluster for the length of the block; offer the number of its GPUs."""
    os.environ.update(_ENVIRONMENT)
    try:
        import ray
        import ray.tune
    except ImportError as error:
        raise MissingError(f"Ray Tune cannot be imported: {error}", hint=INSTALL) from error
    local = {"include_dashboard": False} if address == "local" else {}
    try:
        if ":" in address:
            _knock(address)  # Ray itself would knock for minutes
        ray.init(address, log_to_driver=False, logging_level="error", **local)
    except (OSError, ValueError, RuntimeError) as error:
        raise MissingError(
            f"there is no Ray cluster at {address!r}: {str(error).strip().splitlines()[0]}",
            hint="ray start --head   # or --ray local",
        ) from error
    try:
        yield int(ray.cluster_resources().get("GPU", 0))
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    host, _, port = address.rpartition(":")
    if "/" in host or not port.isdecimal():
        raise ValueError("an address is auto, local or HOST:PORT, of a cluster that this machine is part of")
    socket.create_connection((host, int(port)), timeout=5).close()


def _run(
    train: Callable[[Recipe], dict[str, Any]],
    recipes: Mapping[str, Recipe],
    gpus: int,
    ended: Callable[[str, Mapping[str, Any]], None],
) -> None:
    """Let Ray Tune call `train` with each recipe, and call `ended` here with its name and what it told, as they end."""
    from ray import tune

    def trainable(config: dict[str, str], train: Callable[[Recipe], dict[str, Any]]) -> dict[str, str]:
        return {"told": json.dumps(train(recipes[config["name"]]))}

    class Listener(tune.Callback):  # type: ignore[misc]
        def __reduce__(self) -> tuple[type, tuple[()]]:
            return tune.Callback, ()  # Tune writes its callbacks down to restore a run; here a run is begun anew

        def on_trial_result(
            self, iteration: int, trials: list["Ran"], trial: "Ran", result: Mapping[str, Any], **_: object
        ) -> None:
            if "told" in result:
                ended(trial.config["name"], json.loads(result["told"]))

        def on_trial_error(self, iteration: int, trials: list["Ran"], trial: "Ran", **_: object) -> None:
            ended(trial.config["name"], {"error": str(trial.get_error()).strip().splitlines()[-1]})

    with tempfile.TemporaryDirectory() as records, redirect_stdout(io.StringIO()):  # it prints whatever `verbose` is
        tune.Tuner(
            tune.with_resources(tune.with_parameters(trainable, train=train), {"cpu": 1, "gpu": 1 if gpus else 0}),
            param_space={"name": tune.grid_search(list(recipes))},
            run_config=tune.RunConfig(storage_path=records, callbacks=[Listener()], verbose=0),
        ).fit()
