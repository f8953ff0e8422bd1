"""Every option of the bundle, declared once; configurations hold the values."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from handseg_monai.options.declare import (
    Declared,
    Flag,
    Number,
    Numbers,
    OptionalPath,
    PathText,
    Text,
    Texts,
    Whole,
    option,
)
from handseg_monai.options.views import Hands, Invert


class Options(Declared):
    """The plain options of all configurations; one that a configuration does not hold is None.

    Options that a configuration computes, such as the checkpoint's window, are checked as what is typed.
    """

    dataset_dir: PathText = option("folder of radiographs, or one radiograph; training needs a folder with labels")
    output_dir: PathText = option(
        "folder for results; inference replaces its own files, and says first which images of an earlier "
        "`submission.csv` that leaves without masks; training moves an earlier run to `earlier/1`"
    )
    checkpoint: PathText = option(
        "file of the weights to load",
        derived={
            "train": "`model.pt` in `--output_dir`; only evaluation loads it",
            "inference": "`runs/train/model.pt` if it exists, else the shipped weights",
        },
    )
    checkpoints: Texts = option(
        "checkpoints whose probabilities the ensemble averages",
        "a list of files, such as \"['a.pt','b.pt']\"",
        derived="`runs/*/model.pt`",
    )
    network_files: Texts = option(
        "overlays that declare networks that the bundle does not have",
        "a list of files, such as \"['a.json','b.json']\"",
    )
    weights: OptionalPath = option(
        "checkpoint to start training from; `none` starts from random weights",
        derived="the shipped weights",
    )
    resume: Flag = option(
        "continue an interrupted run from `last.pt`; the losses are those of a run without an interruption"
    )
    fold: int = option("fold to validate on; training uses the others", ge=0)
    num_folds: int = option("number of folds; all images of a person are in one fold", ge=2)
    folds_file: OptionalPath = option("file of folds that `handseg folds` wrote; it replaces `--num_folds`")
    exclude: OptionalPath = option("file that lists images to leave out, such as `audit/exclude.txt`")
    pseudo_labels: OptionalPath = option(
        "folder of pseudo-labels (see `handseg convert`) to train on as well; validation never uses them"
    )
    held_out: float = option("share of the people in each folder of phantoms to validate on", gt=0, lt=1)
    presets: list[Literal["easy", "standard", "hard", "children"]] = option(
        "presets of views and exposures; training draws each entry of the list equally often",
        "a list of easy, standard, hard and children",
    )
    relative_names: Flag = option(
        "name images by their path inside `--dataset_dir`; `handseg evaluate` expects file names alone"
    )
    any_body_part: Flag = option(
        "also accept DICOM files whose header names a body part other than the hand, and report them"
    )
    max_pixels: int = option(
        "largest number of pixels that an image may have; inference lists larger images as failures, and training "
        "does not begin with one",
        ge=1,
    )
    invert: Invert = option(
        "take the negative of an image: `auto`: if its bones are dark (in training the labels tell); `yes`: always; "
        "`no`: never"
    )
    hands: Hands = option(
        "where an image shows both hands, segment the `one` that the network is more certain of, or `both`: "
        "the rows `NAME#left` and `NAME#right`"
    )
    overlays: Flag = option("write a picture of each image with its bones to `overlays/`")
    picture_side: int = option("longest side of the pictures of `--overlays`, in pixels", ge=32)
    confidence: Flag = option("write `confidence.csv`: how sure the network is of each bone")
    views: Literal["image", "hand"] = option(
        "`hand`: find the hand, then look at it more closely, at `--window` pixels; `image`: slide windows "
        "over the whole image",
        derived="the checkpoint's value",
    )
    size: int | None = option(
        "long side, in pixels, of the images that the network trains on; masks always have the image's own size",
        "a whole number, at least 32",
        derived="the checkpoint's value",
        ge=32,
    )
    frame: int | None = option(
        "long side, in pixels, to which inference and validation scale a whole image before the network sees it",
        "a whole number, at least 32",
        derived="1024 with `--views hand`, else `--size`",
        ge=32,
    )
    window: int = option(
        "side, in pixels, of the square that the network sees at once (in training, a crop): for the default "
        "network a multiple of 64, at least 128",
        derived={"inference": "the checkpoint's value", "evaluate": "the checkpoint's value", "": "`--size`"},
    )
    overlap: Number = option("share of a window that the next window also covers, with `--views image`", ge=0, lt=1)
    threshold: float | PathText | Numbers = option(
        "probability above which a pixel belongs to a bone, or the file that `handseg thresholds` wrote",
        "a number between 0 and 1, 29 of them, or a JSON file",
    )
    sweep: Numbers = option("thresholds to try", "a list of numbers between 0 and 1")
    thresholds_file: PathText = option(
        "JSON file to write the chosen thresholds to", derived="`thresholds.json` in `--output_dir`"
    )
    evaluation_dir: PathText = option("folder for tables of Dice", derived="`evaluation` in `--output_dir`")
    least_piece: float = option(
        "drop each piece of a bone that is smaller than this share of the bone's largest piece; 0 keeps all", ge=0, le=1
    )
    least_carpal_piece: float = option(
        "like `--least_piece`, for carpal bones; 1 keeps only the largest piece of each", ge=0, le=1
    )
    most_covered: float = option(
        "drop a piece of a carpal bone if more than this share of it lies inside a bone that never covers it in "
        "a real hand; 1 keeps all",
        ge=0,
        le=1,
    )
    least_bone: float = option(
        "drop a bone that is smaller than this share of its usual area in a hand of this size; 0 keeps all", ge=0, le=1
    )
    most_apart: float = option(
        "drop a bone that lies farther than this from all that it articulates with, millimetres of a hand of median "
        "size; 0 keeps all",
        ge=0,
    )
    most_hole: float = option(
        "fill each hole in a bone that is at most this share of the bone; 0 fills none", ge=0, le=1
    )
    seed: int = option(
        "seed of everything random: weights, folds, order, augmentation, dropout; on a CPU the same seed "
        "gives the same losses",
        ge=0,
        le=2**32 - 1,
    )
    epochs: int = option("number of times that training sees each image", ge=1)
    val_interval: int = option("number of epochs from one validation to the next", ge=1)
    curves_interval: int = option(
        "draw precision-recall curves in TensorBoard at every n-th validation; 0 draws none", ge=0
    )
    patience: int = option("stop training after this many validations without a better Dice", ge=1)
    batch_size: int = option("images in a batch, for each rank: two ranks with 1 train like one process with 2", ge=1)
    accumulate: int = option(
        "batches for each step of the optimiser: 4 batches of 2 train like one batch of 8, in the memory of 2", ge=1
    )
    learning_rate: float = option("highest learning rate of the schedule", ge=0, le=10)
    weight_decay: float = option("weight decay of AdamW", ge=0, le=1)
    warmup: float = option("share of the run during which the learning rate rises", ge=0, le=1)
    schedule_step: Literal["iteration", "epoch", "validation"] = option(
        "when the schedule takes a step: after each iteration, epoch or validation"
    )
    milestones: Whole = option(
        "epochs after which the learning rate falls",
        "ascending epochs before the last one, as [50,80]",
        derived="0.6 and 0.85 of the run",
    )
    lr_decay: float = option("factor that multiplies the learning rate each time it falls", ge=0.001, le=0.99)
    least_rate: Number = option("lowest learning rate of the schedule", derived="a share of `--learning_rate`", ge=0)
    plateau_patience: int = option(
        "lower the learning rate after this many validations without a better Dice",
        derived="a twentieth of the run",
        ge=0,
    )
    cycles: int = option("number of cosine cycles in the run", ge=1)
    cycle_growth: int = option("length of each cycle, as a multiple of the cycle before", ge=1)
    first_cycle: Number = option(
        "length of the first cycle, in epochs", "a number of epochs", derived="such that `--cycles` cycles fill the run"
    )
    cycle_warmup: Number = option(
        "epochs at the start of each cycle during which the learning rate rises",
        "a number of epochs, at least 0",
        derived="the share `--warmup` of a cycle",
        ge=0,
    )
    peak_decay: float = option(
        "highest learning rate of each cycle, as a share of that of the cycle before", ge=0.01, le=1
    )
    bone_weights: dict[str, float] | None = option(
        "weights of bones in the loss, by name; every other bone has weight 1", "weights by name, as {'Pisiform': 2}"
    )
    loss_weights: dict[str, float] = option(
        "weight of each part of the loss, by name", "a weight for each part, by name"
    )
    loss_stride: int = option("compute the loss on every n-th pixel of every n-th row", ge=1)
    ema: float = option(
        "decay of a moving average of the weights, such as 0.999; training validates and saves the average "
        "instead of the weights; 0 turns it off",
        ge=0,
        le=0.99999,
    )
    output_bias: float = option(
        "bias of the last layer when training starts; a negative value starts from empty masks", ge=-100, le=100
    )
    network_name: Text = option("name of the network; it must be the name in the checkpoint")
    size_divisor: int = option("number of which `--window` must be a multiple", ge=1)
    encoder: str = option("encoder of the network, by its name in the library")
    encoder_weights: str | None = option(
        "pretrained weights of the encoder: their name in the library, or a file; `none` starts from random weights"
    )
    sw_batch_size: int = option(
        "number of windows that the network sees at once, with `--views image`", derived="4 on a GPU, else 1", ge=1
    )
    num_workers: int = option("number of processes that read images", ge=0)
    cache_rate: float = option(
        "share of the training images to keep in memory, 8 bytes per pixel in each rank", ge=0, le=1
    )
    cache_dir: OptionalPath = option(
        "folder to keep prepared images in for later runs; training prepares an image anew if its file or a "
        "setting has changed"
    )
    amp: Flag = option("compute in mixed precision (autocast); `false` is faster on CPUs without bfloat16 units")
    amp_dtype: Literal["float16", "bfloat16"] = option(
        "data type of mixed precision", derived="float16 on a GPU, else bfloat16"
    )
    compile: Flag = option("compile the network with `torch.compile`; checkpoints stay the same")
    compile_backend: str = option("backend of `torch.compile`; on a CPU, inductor needs a C++ compiler")
    backend: Literal["torch", "openvino"] = option(
        "what computes the network: `torch`, or `openvino`, which is faster on a CPU and needs the extra `[openvino]`"
    )
    run_name: Text | None = option("name of the run in messages, tables and MLflow", derived="folder and time")
    experiment_name: Text = option("name of the experiment in MLflow")

    @model_validator(mode="after")
    def _check(self) -> Options:
        self._check_training()
        self._check_schedule()
        if self.compile and self.backend == "openvino":
            raise ValueError("--compile true and --backend openvino: each compiles the network; give only one of them")
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
            f"--{name} {window}: network {network_name} needs a multiple of {size_divisor}, at least {2 * size_divisor}"
        )
