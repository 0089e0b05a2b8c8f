"""The page itself: its layout in gradio, and what runs in the browser."""

import base64
import io
import os
from collections.abc import Iterable

# The page asks no other host for anything. httpx, which gradio imports, would fail at some proxies.
os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
os.environ["no_proxy"] = ",".join([os.environ.get("no_proxy") or os.environ.get("NO_PROXY", ""), "*"])

import fastapi
import gradio as gr
from PIL import Image

from air_tf.demo.guard import LARGEST_FILE, Guard
from air_tf.demo.look import CANVAS, Demo, Shown
from air_tf.demo.table import NOTHING, NUMBERS, Table

PEN = 18  # pixels, the width of strokes
SEND_EVERY = 60  # milliseconds, while one draws

CSS = """footer { display: none !important; }
#boxes img { height: 320px; }
#boxes img, #steps img, #glimpses img, #table img { max-width: 100%; }
#table { position: sticky; top: 0; z-index: 1; background: white; }"""
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
DROP = """<label>Or drop a picture, or click to choose one<br>
<input type="file" accept=".png,.jpg,.jpeg"></label><p></p>"""
DROP_CSS = """label { display: block; padding: 16px; border: 2px dashed #bbb; border-radius: 8px;
text-align: center; cursor: pointer; } input { max-width: 100%; margin-top: 8px; }"""
DROPPED = """
const input = element.querySelector('input'), note = element.querySelector('p');
function send(file) {
    const fits = !file || file.size <= props.largest, most = props.largest / 1e6;
    note.innerText = fits ? '' : `Expected a picture of at most ${most} MB. Received: a larger one.`;
    if (!file || !fits) return;
    const reader = new FileReader();
    reader.onload = () => { props.value = reader.result; trigger('input'); };
    reader.readAsDataURL(file);
}
input.onchange = () => { send(input.files[0]); input.value = ''; };
element.ondragover = event => event.preventDefault();
element.ondrop = event => { event.preventDefault(); send(event.dataTransfer.files[0]); };
"""
INTRODUCTION = """# Attend, infer, repeat
Draw one or two digits **apart from each other**, drop a picture, or look at a test image. The model has
learned to count, box and encode objects without a single label."""
TABLE_INTRODUCTION = """# Attend, infer, repeat, on a table
Place solids on the table. The model infers how many there are, which they are, where they stand and how
they are turned. It has learned that without a single label, through the renderer that draws them. Here x
and y are in units of half the table's side; from above, true poses are grey and inferred ones red."""
ONCE = {"show_progress": "hidden", "trigger_mode": "always_last", "queue": False}


def as_html(picture: Image.Image) -> str:
    """An image element that holds the picture, so that no file is written for it."""
    file = io.BytesIO()
    picture.save(file, "png", compress_level=1)
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'


def shown(look, *arguments) -> list:
    """What `look` shows, for the components; where it fails the reason, and the rest stays as it is."""
    try:
        seen: Shown = look(*arguments)
    except ValueError as error:
        return [gr.skip()] * 4 + [f"**{error}**"]
    return [seen.probabilities, *map(as_html, seen[1:4]), seen.said]


def page(demo: Demo) -> gr.Blocks:
    """The layout, and which of the demo's functions each event calls."""
    with gr.Blocks(title="air_tf", analytics_enabled=False) as blocks:
        if demo.table is None:
            gr.Markdown(INTRODUCTION)
            draw_here(demo)
        else:
            gr.Markdown(TABLE_INTRODUCTION)
            with gr.Tabs(selected="table"):
                with gr.Tab("Look at a picture"):
                    draw_here(demo)
                with gr.Tab("Place solids", id="table"):
                    place_here(demo.table)
    return blocks


def draw_here(demo: Demo) -> None:
    """Where one draws or drops a picture, and what is seen of it."""
    with gr.Row():
        with gr.Column(min_width=CANVAS + 40, scale=0):
            drawing = gr.HTML(
                "", html_template=BOARD, css_template=BOARD_CSS, js_on_load=DRAW, elem_id="drawing",
                side=CANVAS, pen=PEN, interval=SEND_EVERY,
            )  # fmt: skip
            test_image = gr.Button("Load a test image", elem_id="test-image")
            file = gr.HTML(
                "", html_template=DROP, css_template=DROP_CSS, js_on_load=DROPPED, elem_id="file",
                largest=LARGEST_FILE,
            )  # fmt: skip
        with gr.Column():
            counts = gr.Label(label="How many objects", elem_id="counts")
            said = gr.Markdown(elem_id="said")
            gr.Markdown("**What the model sees, and where**")
            boxes = gr.HTML(elem_id="boxes")
            gr.Markdown(
                "**The windows it looked through, the background if the model has one, and the "
                "reconstruction step by step**"
            )
            steps = gr.HTML(elem_id="steps")
            gr.Markdown("**Each glimpse, and below what it was decoded as**")
            glimpses = gr.HTML(elem_id="glimpses")
    outputs = [counts, boxes, steps, glimpses, said]
    for sent in drawing, file:
        sent.input(lambda data_url: shown(demo.look_at_sent, data_url), sent, outputs, **ONCE)
    test_image.click(lambda: shown(demo.look_at_next_test_image), None, outputs, **ONCE)


def place_here(table: Table) -> None:
    """Where one places solids on a table, and what is inferred of them."""
    names = [("nothing", NOTHING), *((solid.name, k) for k, solid in enumerate(table.solids))]
    first, sliders = table.first(), []
    found = table.look(*first)
    picture = gr.HTML(as_html(found.picture), elem_id="table")
    with gr.Row():
        for place in range(table.places):
            which, x, y, angle = first[NUMBERS * place : NUMBERS * (place + 1)]
            with gr.Column(min_width=280):
                sliders += [
                    gr.Radio(names, value=which, label=f"Place {place + 1}"),
                    gr.Slider(-1, 1, x, step=0.01, label="x, to the right"),
                    gr.Slider(-1, 1, y, step=0.01, label="y, away from the camera"),
                    gr.Slider(0, 360, angle, step=1, label="angle, degrees"),
                ]
    said = gr.Markdown(found.said, elem_id="found")

    def look(*numbers):
        found = table.look(*numbers)
        return as_html(found.picture), found.said

    gr.on([slider.input for slider in sliders], look, sliders, [picture, said], **ONCE)


def guarded_app(demo: Demo, hosts: Iterable[str] = ()) -> Guard:
    """The page as an ASGI app that answers nothing else.

    Args:
        demo: `Demo`.
        hosts: as those of `Guard`.
    """
    blocks = page(demo)
    app = gr.mount_gradio_app(
        fastapi.FastAPI(openapi_url=None), blocks, path="/", css=CSS, footer_links=[], ssr_mode=False,
        show_error=False, run_history=False, mcp_server=False, enable_monitoring=False, pwa=False,
    )  # fmt: skip
    kinds = {i: [kind_of(component) for component in f.inputs] for i, f in blocks.fns.items()}
    return Guard(app, hosts, kinds)


def kind_of(component) -> type:
    """What a component of the page sends: a number, or else a data URL."""
    return float if isinstance(component, (gr.Slider, gr.Radio)) else str
