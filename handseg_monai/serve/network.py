"""The process of the network: the bundle's own inference, on arrays that the process of the web has read."""

from __future__ import annotations

from typing import Any

import numpy as np

from handseg_monai.run.inference import Inference
from handseg_monai.serve.child import Answer, Arrays, answer


class Network(Inference):
    """The bundle's inference, and a closer look at one bone."""

    def ask(self, image: np.ndarray, planes: np.ndarray, bone: int, note: str) -> Answer:
        """Mask of a bone, uint8 (H, W), from a closer look at the region around it."""
        import torch

        from handseg_monai.inferers.around import looks_around
        from handseg_monai.inferers.looks import planes_of_looks
        from handseg_monai.inferers.planes import IN_THE_NEGATIVE
        from handseg_monai.transforms.drop_pieces import drop_pieces
        from handseg_monai.transforms.fill_holes import fill_holes

        with torch.inference_mode():
            scaled = self.preprocessing({"image": image})["image"].to(self.device)
            if IN_THE_NEGATIVE in note:
                scaled = 1 - scaled
            inferer = self.inferer
            with torch.autocast(self.device.type, dtype=inferer.dtype, enabled=inferer.enabled):
                seen = looks_around(inferer.inferer, scaled, planes, bone, self.network)
            shape, size = (scaled.shape[-2], scaled.shape[-1]), (image.shape[0], image.shape[1])
            drawn = planes_of_looks([[look] for look in seen], shape, size, inferer.thresholds).cpu().numpy()
        least_piece, least_carpal, most_hole = (
            self.parser.get_parsed_content(name) for name in ("least_piece", "least_carpal_piece", "most_hole")
        )
        drawn = fill_holes(drop_pieces(drawn, least_piece, least_carpal), most_hole)
        mask = (drawn >> np.int32(bone) & np.int32(1)).astype(np.uint8)
        if not mask.any():
            raise ValueError("the network sees no such bone there; draw it with the brush")
        return {}, {"mask": mask}


def main() -> None:
    """Answer what :class:`~handseg_monai.serve.segmenter.Segmenter` asks; the first request loads the network."""
    loaded: dict[str | None, Network] = {}

    def handle(request: dict[str, Any], arrays: Arrays) -> Answer:
        checkpoint = request["checkpoint"]
        if request["do"] == "checkpoint":
            return {"checkpoint": Network(checkpoint).checkpoint}, {}
        if checkpoint not in loaded:
            inference = Network(checkpoint)
            inference.load()
            loaded.clear()
            loaded[checkpoint] = inference
        inference = loaded[checkpoint]
        if request["do"] == "infer":
            drawn = inference.infer(arrays["image"])
            said = {"confidence": drawn.confidence[0].tolist(), "note": drawn.note, "weights": inference.weights}
            return said, {"planes": drawn.planes[0]}
        if request["do"] == "ask":
            return inference.ask(arrays["image"], arrays["planes"], request["bone"], request["note"])
        return {"weights": inference.weights}, {}

    answer(handle)


if __name__ == "__main__":
    main()
