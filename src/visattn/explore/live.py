"""Controls that run the chapter's own code again, where there is a kernel."""

from __future__ import annotations

import contextlib
import html
import importlib.util
import inspect
import io
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from visattn.explore._checks import check_image

STATIC = "VISATTN_STATIC"
"""Environment variable: set to 1, `live` shows its first result and no controls."""


@dataclass(frozen=True)
class LiveView:
    """What `live` gives back: the first result, and controls where they work.

    Attributes:
        values: The value of each control at the start.
        result: What the function returned for them.
        widget: The ipywidgets box, or None on the static page.
    """

    values: dict[str, Any] = field(repr=False)
    result: Any
    widget: Any = field(default=None, repr=False)

    @property
    def hint(self) -> str:
        """One line for readers of the static page."""
        names = ", ".join(name.replace("_", " ") for name in self.values)
        return f"Run this chapter to move the controls: {names}."

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """Show the controls, or the first result with the hint."""
        if self.widget is not None:
            return dict(self.widget._repr_mimebundle_(**kwargs) or {})
        bundle = _bundle(self.result)
        page = bundle.get("text/html")
        if page is None:
            page = f"<pre>{html.escape(bundle['text/plain'])}</pre>"
        note = (
            '<p class="visattn-live-hint" style="margin:.5rem 0 0;font-size:.875em;'
            f'opacity:.8">{html.escape(self.hint)}</p>'
        )
        text = f"{bundle['text/plain']}\n{self.hint}"
        return {"text/html": page + note, "text/plain": text}


def live(function: Callable[..., Any], /, **controls: Any) -> LiveView:
    """Show the result of a function, with controls for its arguments.

    In a live notebook the controls call the function again. On the static page, or
    without ipywidgets, only the first result is shown, with a one-line hint.

    A control starts at the default of the function's own parameter, if it has one
    that the control offers; else at its first value.

    Args:
        function: Called with one keyword argument per control; what it returns is
            shown, for example the `Picture` of `show`.
        **controls: One per argument. A tuple (first, last) or (first, last, step)
            of numbers is a slider; a list is a menu; True or False is a check box;
            a photograph [3, H, W] with values in [0, 1] lets the reader choose a
            file of their own, scaled to about the same size.

    Raises:
        TypeError: If the function cannot be called, or a control has another type.
        ValueError: If there is no control, or a slider or a menu is empty.
    """
    if not callable(function):
        raise TypeError(f"live expects a function, got {type(function).__name__}")
    if not controls:
        raise ValueError("live needs at least one control, for example heads=(1, 8)")
    for name, control in controls.items():
        _check_control(name, control)
    values = {name: _first(function, name, it) for name, it in controls.items()}
    static = os.environ.get(STATIC, "") not in ("", "0")
    if static or importlib.util.find_spec("ipywidgets") is None:
        return LiveView(values, function(**values))
    return _with_widgets(function, controls, values)


def _check_control(name: str, control: Any) -> None:
    if isinstance(control, bool):
        return
    if isinstance(control, Tensor):
        check_image(control)
        return
    if isinstance(control, list):
        if not control:
            raise ValueError(f"the menu {name} is empty")
        return
    if not isinstance(control, tuple):
        raise TypeError(
            f"{name} must be a tuple (first, last, step), a list, True or False, or a "
            f"photograph, got {type(control).__name__}: {control!r}"
        )
    number = all(
        isinstance(part, int | float) and not isinstance(part, bool) for part in control
    )
    if len(control) not in (2, 3) or not number:
        raise ValueError(
            f"{name} must be (first, last) or (first, last, step): {control}"
        )
    if control[1] <= control[0] or (len(control) == 3 and control[2] <= 0):
        raise ValueError(f"{name} must have first < last and step > 0, got {control}")


def _first(function: Callable[..., Any], name: str, control: Any) -> Any:
    """The start value: the parameter's default if the control offers it."""
    try:
        given = inspect.signature(function).parameters[name].default
    except (KeyError, TypeError, ValueError):
        given = inspect.Parameter.empty
    if isinstance(control, bool):
        return given if isinstance(given, bool) else control
    if isinstance(control, Tensor):
        return control
    if isinstance(control, list):
        known = any(given is item or _equal(given, item) for item in control)
        return given if known else control[0]
    number = isinstance(given, int | float) and not isinstance(given, bool)
    return given if number and control[0] <= given <= control[1] else control[0]


def _equal(a: Any, b: Any) -> bool:
    return type(a) is type(b) and not isinstance(a, Tensor) and bool(a == b)


def _with_widgets(
    function: Callable[..., Any], controls: dict[str, Any], values: dict[str, Any]
) -> LiveView:
    import ipywidgets

    made = {name: _widget(name, it, values[name]) for name, it in controls.items()}
    output = ipywidgets.Output()
    photos: dict[str, tuple[Any, Tensor]] = {}

    def read(name: str) -> Any:
        if not isinstance(controls[name], Tensor):
            return made[name].value
        files = made[name].value
        if not files:
            return controls[name]
        if name not in photos or photos[name][0] is not files:
            photos[name] = (files, _read_photo(files[0], controls[name]))
        return photos[name][1]

    def update(_change: Any = None) -> None:
        printed, failed, result = io.StringIO(), "", None
        with contextlib.redirect_stdout(printed):
            try:
                result = function(**{name: read(name) for name in made})
            except Exception:  # the reader sees it where the result would be
                failed = traceback.format_exc(limit=-2)
        output.outputs = _outputs(printed.getvalue(), failed, result)

    result = function(**values)
    output.outputs = _outputs("", "", result)
    for control in made.values():
        control.observe(update, names="value")
    row = ipywidgets.Layout(flex_flow="row wrap", align_items="center")
    box = ipywidgets.HBox(list(made.values()), layout=row)
    return LiveView(values, result, ipywidgets.VBox([box, output]))


def _outputs(printed: str, failed: str, result: Any) -> tuple[dict[str, Any], ...]:
    outputs: list[dict[str, Any]] = []
    if printed:
        outputs.append({"output_type": "stream", "name": "stdout", "text": printed})
    if failed:
        outputs.append({"output_type": "stream", "name": "stderr", "text": failed})
    elif result is not None:
        data = _bundle(result)
        shown = {"output_type": "display_data", "data": data, "metadata": {}}
        outputs.append(shown)
    return tuple(outputs)


def _bundle(result: Any) -> dict[str, str]:
    bundle = {"text/plain": repr(result)}
    page = result._repr_html_() if hasattr(result, "_repr_html_") else None
    if page is not None:
        bundle["text/html"] = page
    return bundle


def _widget(name: str, control: Any, value: Any) -> Any:
    import ipywidgets

    label = name.replace("_", " ")
    style = {"description_width": "initial"}
    if isinstance(control, bool):
        return ipywidgets.Checkbox(value=value, description=label, indent=False)
    if isinstance(control, Tensor):
        text = f"Your {label}"
        return ipywidgets.FileUpload(accept="image/*", multiple=False, description=text)
    if isinstance(control, list):
        options = [(str(item), item) for item in control]
        index = next(i for i, it in enumerate(control) if it is value or it == value)
        return ipywidgets.Dropdown(
            options=options, index=index, description=label, style=style
        )
    whole = all(isinstance(part, int) for part in (*control, value))
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    step = control[2] if len(control) == 3 else (1 if whole else None)
    if step is None:
        step = (control[1] - control[0]) / 100
    return kind(
        value=value,
        min=control[0],
        max=control[1],
        step=step,
        description=label,
        style=style,
        continuous_update=False,  # one run per move, not per pixel
    )


def _read_photo(file: Any, like: Tensor) -> Tensor:
    """An uploaded file as a photograph [3, H, W] about the size of another."""
    import numpy as np
    import torch
    from PIL import Image, ImageOps

    picture: Image.Image = Image.open(io.BytesIO(bytes(file["content"])))
    picture = ImageOps.exif_transpose(picture).convert("RGB")
    height, width = like.shape[1:]
    if height == width:  # a square stays a square
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    else:
        scale = max(height, width) / max(picture.size)
        size = [max(1, round(side * scale)) for side in picture.size]
        picture = picture.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    array = np.asarray(picture, dtype=np.float32) / 255
    return torch.from_numpy(array).permute(2, 0, 1).to(like)
