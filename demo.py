"""Try a model with the mouse: python demo.py"""

import base64
import dataclasses
import io
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # the page asks no other host for anything
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np

from air_tf import cli, figures
from air_tf.config import MultiDigitRecipe
from air_tf.data.digits import embedded_digits
from air_tf.data.multi_mnist import compose
from air_tf.evaluation import Predictor, canvases
from air_tf.pictures import as_png, read_picture
from air_tf.remote import RemoteModel
from air_tf.scene import Scene
from air_tf.serving import default_model, load
from air_tf.spatial_transformer import Attend

CANVAS, PEN = 400, 18  # pixels: the drawing's side, its strokes
SEND_EVERY = 60  # milliseconds, while one draws
GLIMPSE_SIZE, SHOWN_HEIGHT = 28, 150  # pixels
TEST_IMAGES = 50  # of which the button shows one after the other

CSS = "footer { display: none !important; }"
BOARD = """<canvas width="${side}" height="${side}"></canvas><button>Clear</button>"""
BOARD_CSS = """canvas { width: 100%; background: white; border: 1px solid #bbb; border-radius: 8px;
cursor: crosshair; touch-action: none; } button { width: 100%; padding: 4px; cursor: pointer; }"""
DRAW = """
const canvas = element.querySelector('canvas'), pen = canvas.getContext('2d');
let last = null, waiting = null;
function clear() { pen.fillStyle = 'white'; pen.fillRect(0, 0, canvas.width, canvas.height); }
function send() { waiting = null; props.value = canvas.toDataURL('image/png'); trigger('input'); }
function sendSoon() { waiting = waiting || setTimeout(send, props.interval); }
function place(event) {
    const box = canvas.getBoundingClientRect(), scale = canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}
function line(to) {
    pen.lineWidth = props.pen; pen.lineCap = 'round';
    pen.beginPath(); pen.moveTo(...last); pen.lineTo(...to); pen.stroke();
    last = to; sendSoon();
}
canvas.onpointerdown = event => {
    canvas.setPointerCapture(event.pointerId); last = place(event); line(last);
};
canvas.onpointermove = event => { if (last) line(place(event)); };
canvas.onpointerup = canvas.onpointercancel = () => { last = null; };
element.querySelector('button').onclick = () => { clear(); sendSoon(); };
clear();
// what is drawn before the page listens would be lost: send until something is said of it
const first = setInterval(() => {
    const said = document.querySelector('#said');
    if (said && said.innerText.trim()) clearInterval(first); else send();
}, props.interval * 5);
"""
INTRODUCTION = """# Attend, infer, repeat
Draw one or two digits **apart from each other**, drop a picture, or look at a test image. The model has
learned to count, box and encode objects without a single label."""


@dataclasses.dataclass(frozen=True)
class DemoConfig:
    """A page on which one draws with the mouse and sees what a model sees."""

    saved_model: str = ""
    """A SavedModel or a run (default: the newest export in exports/air, else pretrained/)."""

    serving: str = ""
    """Instead: HOST:PORT of a running TF Serving's gRPC."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets others in."""

    port: int = 7860
    """Port of the page."""


class Demo:
    """What the page shows of a picture.

    Args:
        model: `Predictor`.
    """

    def __init__(self, model: Predictor):
        self.model = model
        self.attend = Attend(GLIMPSE_SIZE)
        images = compose(embedded_digits(), MultiDigitRecipe(), TEST_IMAGES, [0])
        self.test_images = images[images.any(axis=(1, 2, 3))]
        self.shown = 0
        self.look(np.full((CANVAS, CANVAS, 3), 255, np.uint8))  # the first call takes its time

    def look(self, pixels: np.ndarray) -> tuple:
        """Of a picture `(h, w, 3)` uint8: the counts' probabilities, boxes, build-up and glimpses."""
        started = time.perf_counter()
        images = prepared(self.model, pixels)
        scene = Scene(*map(np.asarray, self.model.infer(images)))
        count, drawn = int(scene.counts[0]), canvases(self.model, scene)[0]
        probabilities = {
            f"{n} object{'s' * (n != 1)}": float(p) for n, p in enumerate(scene.count_probs[0])
        }
        zoom = max(1, SHOWN_HEIGHT // images.shape[1])
        boxed = figures.with_boxes(images[0], scene.tight_boxes[0, :count], 2 * zoom)
        windows = figures.with_boxes(images[0], scene.boxes[0, :count], zoom)
        steps = [figures.with_boxes(canvas, [], zoom) for canvas in drawn[1 : count + 1]]
        built = figures.side_by_side([windows, *steps], len(drawn))
        glimpses = [self.attend(images, where[None])[0].numpy() for where in scene.z_where[0, :count]]
        decoded = np.diff(drawn, axis=0)[:count]
        pairs = [(g, self.attend(d[None], w[None])[0].numpy())
                 for g, d, w in zip(glimpses, decoded, scene.z_where[0])]  # fmt: skip
        strip = figures.glimpse_pairs(pairs, GLIMPSE_SIZE * 3)
        seconds = time.perf_counter() - started
        return probabilities, boxed, built, strip, f"{count} found in {1000 * seconds:.0f} ms"

    def said(self, source) -> tuple:
        """`look` at a file or pixels; where that fails, the reason, and the rest stays as it is."""
        import gradio as gr

        try:
            return self.look(source if isinstance(source, np.ndarray) else read_picture(source))
        except ValueError as error:
            return (gr.skip(),) * 4 + (f"**{error}**",)

    def drawn(self, data_url: str) -> tuple:
        """Of what is drawn."""
        return self.said(io.BytesIO(base64.b64decode(data_url.partition(",")[2])))

    def next_test_image(self) -> tuple:
        """Of the next of the test images."""
        image = self.test_images[self.shown % len(self.test_images)]
        self.shown += 1
        return self.said(np.repeat(image, 3, axis=-1))


def prepared(model: Predictor, pixels: np.ndarray) -> np.ndarray:
    """What the model sees of a picture, or of its negative where only that leaves light objects on a
    dark ground, `(1, H, W, C)`: models were trained on either polarity."""
    images = np.asarray(model.prepare([as_png(pixels), as_png(np.invert(pixels))]))
    ink = images.mean(axis=(1, 2, 3))
    return images[[int(np.argmax(np.where(ink < 0.5, ink, -1.0)))]]


def page(demo: Demo):
    """The gradio page."""
    import gradio as gr

    with gr.Blocks(title="air_tf", analytics_enabled=False) as blocks:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(min_width=CANVAS + 40, scale=0):
                drawing = gr.HTML(
                    "", html_template=BOARD, css_template=BOARD_CSS, js_on_load=DRAW, elem_id="drawing",
                    side=CANVAS, pen=PEN, interval=SEND_EVERY,
                )  # fmt: skip
                test_image = gr.Button("Load a test image", elem_id="test-image")
                file = gr.File(
                    label="Or drop a picture", file_types=[".png", ".jpg", ".jpeg"], height=120,
                    elem_id="file",
                )  # fmt: skip
            with gr.Column():
                counts = gr.Label(label="How many objects", elem_id="counts")
                said = gr.Markdown(elem_id="said")
                picture = {"interactive": False, "buttons": [], "show_label": False, "format": "png"}
                gr.Markdown("**What the model sees, and where**")
                boxed = gr.Image(label="boxes", elem_id="boxes", height=320, **picture)
                gr.Markdown("**The windows it looked through, and its reconstruction step by step**")
                built = gr.Image(label="steps", elem_id="steps", **picture)
                gr.Markdown("**Each glimpse, and below what it was decoded as**")
                strip = gr.Image(label="glimpses", elem_id="glimpses", **picture)
        shown = [counts, boxed, built, strip, said]
        once = {"show_progress": "hidden", "trigger_mode": "always_last", "queue": False}
        drawing.input(demo.drawn, drawing, shown, **once)
        file.upload(demo.said, file, shown, **once)
        test_image.click(demo.next_test_image, None, shown, **once)
    return blocks


def main(config: DemoConfig) -> None:
    if config.saved_model and config.serving:
        given = f"--saved-model {config.saved_model} --serving {config.serving}"
        raise ValueError(f"Expected either --saved-model or --serving. Received: {given}.")
    place = config.serving or config.saved_model or default_model()
    model = RemoteModel(config.serving) if config.serving else load(place)
    print(f"The model: {place}.", flush=True)
    try:
        page(Demo(model)).launch(
            server_name=config.host, server_port=config.port, css=CSS, show_error=True, share=False,
            footer_links=[], ssr_mode=False,
        )  # fmt: skip
    except OSError as error:
        raise OSError(
            f"Expected a free port on {config.host}. Received: --port {config.port}: {error}"
        ) from error


if __name__ == "__main__":
    sys.exit(cli.run(lambda: main(cli.parse(DemoConfig))))
