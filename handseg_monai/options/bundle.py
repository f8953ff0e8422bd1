"""Every option of the bundle, declared once; configurations hold the values."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from handseg_monai.options.declare import Declared, Flag, Number, Numbers, PathText, Text, Texts, Whole, option


class Options(Declared):
    """The plain options of all configurations; one that a configuration does not hold is None.

    Options that a configuration computes, such as the checkpoint's window, are checked as what is typed.
    """

    dataset_dir: PathText = option("folder of radiographs, or one file; to train on: of labelled radiographs")
    output_dir: PathText = option(
        "folder for results; inference replaces its own files, training moves an earlier run to `earlier/1`"
    )
    checkpoint: PathText = option(
        "weights to use",
        derived={
            "train": "`model.pt` in `--output_dir`, to evaluate",
            "inference": "`runs/train/model.pt` if it exists, else the shipped weights",
        },
    )
    checkpoints: Texts = option(
        "checkpoints of an ensemble", "a list of files, such as \"['a.pt','b.pt']\"", derived="`runs/*/model.pt`"
    )
    network_files: Texts = option(
        "overlays that declare further networks of an ensemble", "a list of files, such as \"['a.json','b.json']\""
    )
    weights: PathText | None = option(
        "checkpoint to begin from; `none` begins from nothing", "a path, or none", derived="the shipped weights"
    )
    resume: Flag = option("continue from `last.pt`, with the losses of a run that was not interrupted")
    fold: int = option("fold to validate on", ge=0)
    num_folds: int = option("number of folds; all images of a person are in one fold", ge=2)
    folds_file: PathText | None = option("folds that `handseg folds` wrote, instead of `--num_folds`")
    exclude: PathText | None = option("list of images to leave out, such as `audit/exclude.txt`")
    pseudo_labels: PathText | None = option("converted labels to train on too; never used for validation")
    held_out: float = option("share of the people of each folder of phantoms to validate on", gt=0, lt=1)
    presets: list[Literal["easy", "standard", "hard", "children"]] = option(
        "presets of views and exposures, drawn alike often", "a list of easy, standard, hard and children"
    )
    relative_names: Flag = option("name images by their path below the folder; `handseg evaluate` uses base names")
    any_body_part: Flag = option("accept DICOM whose header names another body part than the hand, and report it")
    overlays: Flag = option("draw a picture of each image with its bones")
    picture_side: int = option("long side of these pictures, at most, in pixels", ge=32)
    confidence: Flag = option("write `confidence.csv`: how sure the network was of each bone")
    views: Literal["image", "hand"] = option(
        "`hand`: find the hand, then look closer, at `--window` pixels; `image`: slide windows over the whole image",
        derived="the checkpoint's",
    )
    size: int | None = option(
        "long side in pixels that the network works at; masks are written at the image's own size",
        "a whole number, at least 32",
        derived="the checkpoint's",
        ge=32,
    )
    frame: int | None = option(
        "long side in pixels to which whole images are scaled before the network looks",
        "a whole number, at least 32",
        derived="1024 with `--views hand`, else `--size`",
        ge=32,
    )
    window: int = option(
        "side in pixels of what the network sees at once, in training a crop: a multiple of 64, from 128",
        derived={"inference": "the checkpoint's", "evaluate": "the checkpoint's", "": "`--size`"},
    )
    overlap: Number = option("share of a window that neighbouring ones cover too, with `--views image`", ge=0, lt=1)
    threshold: float | PathText | Numbers = option(
        "probability above which a pixel belongs to a bone; or the file of `handseg thresholds`",
        "a number between 0 and 1, 29 of them, or a JSON file",
    )
    sweep: Numbers = option("thresholds to try", "a list of numbers between 0 and 1")
    thresholds_file: PathText = option(
        "JSON file of thresholds to write", derived="`thresholds.json` in `--output_dir`"
    )
    evaluation_dir: PathText = option("folder for tables of Dice", derived="`evaluation` in `--output_dir`")
    least_piece: float = option(
        "drop pieces of a bone that are smaller than this share of its largest one; 0 keeps all", ge=0, le=1
    )
    least_carpal_piece: float = option("the same for carpal bones: with 1 each is one piece", ge=0, le=1)
    most_covered: float = option(
        "drop a piece of a carpal bone if more than this share of it lies in a bone that is apart from it in a hand; "
        "1 keeps all",
        ge=0,
        le=1,
    )
    least_bone: float = option(
        "drop a bone that has less than this share of its usual area in a hand of this size; 0 keeps all", ge=0, le=1
    )
    most_hole: float = option("fill holes of a bone up to this share of it; 0 fills none", ge=0, le=1)
    seed: int = option(
        "of everything random: weights, folds, order, augmentation, dropout; on a CPU the same seed gives the same "
        "losses",
        ge=0,
        le=2**32 - 1,
    )
    epochs: int = option("times that training sees each image", ge=1)
    val_interval: int = option("epochs from one validation to the next", ge=1)
    curves_interval: int = option(
        "validations from one set of precision-recall curves in TensorBoard to the next; 0 draws none", ge=0
    )
    patience: int = option("validations without a better Dice after which training stops", ge=1)
    batch_size: int = option("images of a batch, of each rank: two ranks of 1 train as one process with 2", ge=1)
    accumulate: int = option(
        "batches to one step of the optimiser: 4 batches of 2 train as one of 8 would, in the memory of 2", ge=1
    )
    learning_rate: float = option("highest learning rate of the schedule", ge=0, le=10)
    weight_decay: float = option("weight decay of AdamW", ge=0, le=1)
    warmup: float = option("share of the run during which the rate rises", ge=0, le=1)
    schedule_step: Literal["iteration", "epoch", "validation"] = option("after what the schedule takes a step")
    milestones: Whole = option(
        "epochs after which the rate falls",
        "ascending epochs before the last one, as [50,80]",
        derived="0.6 and 0.85 of the run",
    )
    lr_decay: float = option("factor by which the rate falls", ge=0.001, le=0.99)
    least_rate: Number = option("rate that a schedule ends with", derived="a share of `--learning_rate`", ge=0)
    plateau_patience: int = option(
        "validations without a better Dice after which the rate falls", derived="a 20th of the run", ge=0
    )
    cycles: int = option("cosines that fill the run", ge=1)
    cycle_growth: int = option("length of a cycle, as a multiple of the one before", ge=1)
    first_cycle: Number = option(
        "epochs of the first cycle", "a number of epochs", derived="so that `--cycles` fill the run"
    )
    cycle_warmup: Number = option(
        "epochs at the start of a cycle during which the rate rises",
        "a number of epochs, at least 0",
        derived="`--warmup` of a cycle",
        ge=0,
    )
    peak_decay: float = option("highest rate of a cycle, as a share of the one before", ge=0.01, le=1)
    bone_weights: dict[str, float] | None = option(
        "weights of bones in the loss, by name; others weigh 1", "weights by name, as {'Pisiform': 2}"
    )
    loss_weights: dict[str, float] = option(
        "weight of each part of the loss, by name", "a weight for each part, by name"
    )
    loss_stride: int = option("take the loss on every n-th pixel of every n-th row", ge=1)
    ema: float = option(
        "decay of a moving average of the weights, such as 0.999, which is then validated and kept; 0 keeps none",
        ge=0,
        le=0.99999,
    )
    output_bias: float = option("bias of the last layer before training: the logit of an empty mask", ge=-100, le=100)
    network_name: Text = option("name of the network, compared with the checkpoint's")
    size_divisor: int = option("of which `--window` must be a multiple", ge=1)
    encoder: str = option("encoder of the network, by its library's name")
    encoder_weights: str | None = option("weights that the encoder begins from, by its library's name; none: random")
    sw_batch_size: int = option(
        "windows that the network sees at once, with `--views image`", derived="4 on a GPU, else 1", ge=1
    )
    num_workers: int = option("processes that read images", ge=0)
    cache_rate: float = option("share of the training images to keep in memory, 8 bytes a pixel", ge=0, le=1)
    cache_dir: PathText | None = option(
        "folder that keeps prepared images from run to run; a changed file or setting is read again"
    )
    amp: Flag = option("autocast; `false` is faster on CPUs without bfloat16 units")
    amp_dtype: Literal["float16", "bfloat16"] = option("type of autocast", derived="float16 on a GPU, else bfloat16")
    compile: Flag = option("`torch.compile`; checkpoints are the same")
    compile_backend: str = option("of `torch.compile`; inductor needs a C++ compiler on a CPU")
    run_name: Text | None = option("name of the run in messages, tables and MLflow", derived="folder and time")
    experiment_name: Text = option("experiment of MLflow")

    @model_validator(mode="after")
    def _check(self) -> Options:
        self._check_training()
        self._check_schedule()
        if self.window is not None and self.size_divisor is not None:
            check_window(self.window, self.size_divisor, self.network_name or "")
        return self

    def _check_training(self) -> None:
        if self.epochs is not None and self.val_interval is not None and self.val_interval > self.epochs:
            raise ValueError(f"--val_interval {self.val_interval} is above --epochs {self.epochs}")

    def _check_schedule(self) -> None:
        epochs, rate = self.epochs, self.learning_rate
        if self.least_rate is not None and rate is not None and not self.least_rate < rate:
            raise ValueError(f"--least_rate {self.least_rate}: expected from 0 and below --learning_rate {rate}")
        if self.first_cycle is not None and epochs is not None:
            if not 0 < self.first_cycle <= epochs:
                raise ValueError(
                    f"--first_cycle {self.first_cycle}: expected above 0 and at most the {epochs} epochs of the run"
                )
            if self.cycle_warmup is not None and not self.cycle_warmup < self.first_cycle:
                raise ValueError(
                    f"--cycle_warmup {self.cycle_warmup:g}: expected from 0 and below the first cycle, "
                    f"{self.first_cycle:g} epochs"
                )
        if self.plateau_patience is not None and self.patience is not None and self.plateau_patience >= self.patience:
            raise ValueError(
                f"--plateau_patience {self.plateau_patience}: training stops after {self.patience} validations without "
                "a better Dice, before the rate would fall; expected below --patience"
            )
        if self.milestones is not None and epochs is not None:
            ascending = all(a < b for a, b in zip([0, *self.milestones], [*self.milestones, epochs], strict=True))
            if not ascending:
                raise ValueError(
                    f"--milestones {self.milestones}: expected ascending whole numbers from 1 to {epochs - 1}, for a "
                    f"run of {epochs} epochs"
                )


def check_window(window: int, size_divisor: int, network_name: str, name: str = "window") -> None:
    """Check that the network takes a window, by the name of its option.

    Raises
    ------
    ValueError
        ``window`` is no positive multiple of ``size_divisor``, or below twice that.
    """
    if not isinstance(window, int) or window % size_divisor or window < 2 * size_divisor:
        raise ValueError(
            f"--{name} {window}: network {network_name} takes multiples of {size_divisor}, from {2 * size_divisor}"
        )
