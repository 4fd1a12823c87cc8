"""The viewer at /viewer in a real browser: Debian's Chromium, driven by Playwright.

Each study is opened as a person does, by `/viewer?StudyInstanceUIDs=…`. What the canvas shows is compared, pixel by pixel,
with a rendering of the file by pydicom and numpy; what went over the network is compared with the file's own fragments.
Screenshots are kept (SEPTUM_VIEWER_SHOTS names the folder).
"""

import base64
import collections
import contextlib
import dataclasses
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import urllib.parse
import warnings

import harness
import numpy
import pydicom
import pytest
import requests
from harness import EXPLICIT_LITTLE, TOP, USER, Server, parts_of
from PIL import Image
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import sync_playwright
from pydicom.pixels import apply_modality_lut, convert_color_space

pytestmark = pytest.mark.septum

HTJ2K = "1.2.840.10008.1.2.4.201"
NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"}
# Canvas pixels for one image pixel while they are compared: each image pixel then has a canvas pixel of its own.
ZOOM = 3


@pytest.fixture(scope="module")
def dist() -> str:
    given = os.environ.get("SEPTUM__VIEWER__DIST_DIR")
    return given or subprocess.run([str(TOP / ".ci/viewer/install")], check=True, text=True,
                                   stdout=subprocess.PIPE).stdout.strip()


@pytest.fixture(scope="module")
def server(dist):
    started = Server(environment={"SEPTUM__VIEWER__DIST_DIR": dist, "SEPTUM__PIPELINE__STABLE_AFTER_S": "1"})
    try:
        started.start()
        yield started
        assert started.alive(), "the server died during the tests"
        assert started.stop() == 0, f"unclean exit after SIGTERM:\n{started.log_tail()}"
    finally:
        started.close()


@pytest.fixture(scope="module")
def namespace(server) -> str:
    return server.session.get(server.origin + "/namespaces").json()["namespaces"][0]["id"]


@pytest.fixture(scope="module")
def shots() -> pathlib.Path:
    folder = pathlib.Path(os.environ.get("SEPTUM_VIEWER_SHOTS") or tempfile.mkdtemp(prefix="septum-viewer-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"\nscreenshots: {folder}")
    return folder


@pytest.fixture(scope="module")
def browser():
    program = os.environ.get("SEPTUM_CHROMIUM") or shutil.which("chromium")
    assert program, "Chromium is not installed (.ci/install test)"
    # WebGL in software, as machines without a graphics card have it.
    arguments = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=arguments)
        yield started
        started.close()


@dataclasses.dataclass
class Fetched:
    url: str
    status: int
    headers: dict
    body: bytes | None


class Visit:
    """One tab, signed in, and everything that it said and fetched."""

    def __init__(self, browser, server):
        self.server = server
        self.context = browser.new_context(http_credentials={"username": USER, "password": server.password},
                                           ignore_https_errors=True, viewport={"width": 1400, "height": 900})
        self.page = self.context.new_page()
        self.said: list[tuple[str, str]] = []
        self.responses = []
        self.page.on("console", lambda message: self.said.append((message.type, message.text)))
        self.page.on("pageerror", lambda error: self.said.append(("error", str(error))))
        self.page.on("requestfailed", self.failed)
        self.page.on("response", lambda response: self.responses.append(response))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def failed(self, request):
        # What the viewer itself gives up, because it is shown already, is no failure.
        if "ERR_ABORTED" not in (request.failure or ""):
            self.said.append(("error", f"{request.failure}: {request.url}"))

    def open(self, *studies: str) -> None:
        self.page.goto(f"{self.server.origin}/viewer?StudyInstanceUIDs={','.join(studies)}")

    def wait_for_image(self, text: str = "") -> None:
        """Until an image, whose address holds `text`, is drawn."""
        self.page.wait_for_function(
            """text => window.cornerstone?.getRenderingEngines?.()?.some(engine => engine.getViewports().some(
                viewport => viewport.getCurrentImageId?.()?.includes(text) && viewport.csImage))""",
            arg=text, timeout=60_000)
        self.settle()

    def settle(self, milliseconds: int = 1500) -> None:
        """Until nothing was fetched for so long."""
        for _ in range(40):
            seen = len(self.responses)
            self.page.wait_for_timeout(milliseconds)
            if seen == len(self.responses):
                return
        pytest.fail(f"the viewer does not stop fetching: {[response.url for response in self.responses[-5:]]}")

    def errors(self) -> list[str]:
        bad = [f"{response.status} {response.url}" for response in self.responses if response.status >= 400]
        return bad + [text for kind, text in self.said if kind == "error"]

    def fetched(self, pattern: str, bodies: bool = False) -> list[Fetched]:
        found = []
        for response in self.responses:
            if re.search(pattern, urllib.parse.urlsplit(response.url).path):
                body = None
                if bodies:
                    # The browser does not keep what it was told to stop fetching.
                    with contextlib.suppress(PlaywrightError):
                        body = response.body()
                found.append(Fetched(response.url, response.status, response.headers, body))
        return found

    def shown(self) -> tuple[dict, numpy.ndarray]:
        """State of the first viewport, zoomed so that each image pixel can be read, and its canvas as RGB."""
        state = self.page.evaluate(
            """async zoom => {
                const viewport = cornerstone.getRenderingEngines().flatMap(engine => engine.getViewports())
                    .find(viewport => viewport.csImage);
                const image = viewport.csImage;
                const canvas = viewport.canvas;
                const { imageToWorldCoords } = cornerstone.utilities;
                const id = viewport.getCurrentImageId();
                viewport.setProperties({ interpolationType: 0 });
                // Where a pixel's middle is; the viewer counts from the corner of the first pixel.
                const at = (column, row) => {
                    const [x, y] = viewport.worldToCanvas(imageToWorldCoords(id, [column + 0.5, row + 0.5]));
                    return [x * devicePixelRatio, y * devicePixelRatio];
                };
                const length = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
                const now = length(at(0, 0), at(0, 10)) / 10;
                viewport.setZoom(viewport.getZoom() * zoom / now);
                viewport.render();
                await new Promise(done => setTimeout(done, 600));
                const drawn = viewport.getProperties();
                return {
                    id, rows: image.rows, columns: image.columns, origin: at(0, 0), right: at(1, 0), down: at(0, 1),
                    voi: drawn.voiRange, invert: !!drawn.invert, scale: length(at(0, 0), at(0, 10)) / 10,
                    png: canvas.toDataURL('image/png').split(',')[1],
                };
            }""", ZOOM)
        png = Image.open(io.BytesIO(base64.b64decode(state.pop("png")))).convert("RGB")
        return state, numpy.asarray(png).astype(int)


def read(path: pathlib.Path) -> pydicom.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path, force=True)


def first(value):
    return float(value[0] if isinstance(value, pydicom.multival.MultiValue) else value)


def reference(dataset: pydicom.Dataset, frame: int, voi: dict) -> numpy.ndarray:
    """The frame as 8-bit RGB: modality LUT, then the window as PS3.3 C.11.2.1.2.1 has it."""
    pixels = dataset.pixel_array
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        pixels = pixels[frame - 1]
    if dataset.SamplesPerPixel == 3:
        if dataset.PhotometricInterpretation.startswith("YBR_FULL"):
            pixels = convert_color_space(pixels, dataset.PhotometricInterpretation, "RGB")
        return pixels.astype(int)
    source = dataset
    if "PerFrameFunctionalGroupsSequence" in dataset:
        source = pydicom.Dataset()
        for groups in (dataset.SharedFunctionalGroupsSequence[0], dataset.PerFrameFunctionalGroupsSequence[frame - 1]):
            for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                for element in groups[name].value[0] if name in groups else ():
                    source.add(element)
    values = apply_modality_lut(pixels.astype(float), source) if "RescaleSlope" in source else pixels.astype(float)
    if "WindowCenter" in source:
        center, width = first(source.WindowCenter), first(source.WindowWidth)
        low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
        assert (voi["lower"], voi["upper"]) == pytest.approx((low, high), abs=1.01), "another window than the file's"
    # Where the file names no window, the viewer chooses one; it is taken from there.
    low, high = voi["lower"], voi["upper"]
    grey = numpy.clip((values - low) / (high - low), 0, 1) * 255
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    return numpy.repeat(grey[..., None], 3, axis=2)


def compare(visit: Visit, dataset: pydicom.Dataset) -> int:
    """Compares the canvas with the reference; the number of image pixels compared."""
    # Two decoders of a lossy JPEG may round a value differently, which the slope of 2 makes more than one level.
    levels = 2 if dataset.file_meta.TransferSyntaxUID in DECODED else 1
    state, canvas = visit.shown()
    frame = int(re.search(r"/frames/(\d+)", state["id"]).group(1))
    expected = reference(dataset, frame, state["voi"])
    assert (state["rows"], state["columns"]) == expected.shape[:2]
    rows, columns = numpy.mgrid[: state["rows"], : state["columns"]]
    origin, right, down = (numpy.array(state[name]) for name in ("origin", "right", "down"))
    x = origin[0] + columns * (right - origin)[0] + rows * (down - origin)[0]
    y = origin[1] + columns * (right - origin)[1] + rows * (down - origin)[1]
    # Corners of the canvas are covered by nothing: overlays are elements of their own above it.
    seen = (x >= 1) & (y >= 1) & (x < canvas.shape[1] - 1) & (y < canvas.shape[0] - 1)
    shown = canvas[y[seen].astype(int), x[seen].astype(int)]
    difference = numpy.abs(shown - expected[seen])
    assert len(shown) > 10_000, "hardly any pixel is on the canvas"
    assert difference.max() <= levels, (f"{(difference.max(axis=1) > levels).sum()} of {len(shown)} pixels differ, "
                                   f"by up to {difference.max():.1f}; {json.dumps(state)}")
    return len(shown)


def store(server, *paths: pathlib.Path) -> list[pydicom.Dataset]:
    answer = server.store([path.read_bytes() for path in paths])
    assert answer.status_code in (200, 202), answer.text[:300]
    return [read(path) for path in paths]


def wait_until_dense(server, dataset: pydicom.Dataset) -> None:
    """Frames that no viewer decodes as stored are made HTJ2K in the background; they are wanted in that form here."""
    path = server.path(dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID) + "/frames/1"
    accept = 'multipart/related; type="image/jphc"'
    for _ in range(300):
        if server.request("GET", path, headers={"Accept": accept}).status_code == 200:
            return
        time.sleep(0.2)
    pytest.fail("the dense tier was not made within a minute")


def check_network(visit: Visit, namespace: str, datasets: list[pydicom.Dataset], dense: bool = False) -> None:
    """One namespace, one metadata read per series, frames as they came in, or out of the dense tier, or decoded where
    that is not made yet (`dense` says it is)."""
    by_uid = {dataset.SOPInstanceUID: dataset for dataset in datasets}
    base = f"/namespaces/{namespace}/dicomweb/"
    spoken = visit.fetched("/dicomweb/")
    assert spoken and all(urllib.parse.urlsplit(one.url).path.startswith(base) for one in spoken)
    per_series = collections.Counter(one.url for one in visit.fetched(r"/series/[^/]+/metadata$"))
    assert per_series and set(per_series.values()) == {1}, per_series
    assert len(visit.fetched("/metadata$")) == len(per_series), "metadata was read otherwise than by series"
    frames = [one for one in visit.fetched(r"/frames/\d+$", bodies=True) if one.body]
    assert frames or not datasets
    for one in frames:
        uid, number = re.search(r"/instances/([^/]+)/frames/(\d+)$", urllib.parse.urlsplit(one.url).path).groups()
        (headers, content), = parts_of(one.headers["content-type"], one.body)
        sent = re.search(r'transfer-syntax="?([\d.]+)', headers["content-type"]).group(1)
        dataset = by_uid[uid]
        stored = dataset.file_meta.TransferSyntaxUID
        if stored in NATIVE:
            assert sent == HTJ2K or (sent == EXPLICIT_LITTLE and not dense), f"sent as {sent}"
            continue
        if stored in DECODED:
            assert sent in (HTJ2K, EXPLICIT_LITTLE), f"sent as {sent}"
            continue
        assert sent == stored, f"sent as {sent}, stored as {stored}"
        fragments = list(pydicom.encaps.generate_frames(dataset.PixelData,
                                                        number_of_frames=int(dataset.get("NumberOfFrames") or 1)))
        assert content.rstrip(b"\0") == fragments[int(number) - 1].rstrip(b"\0"), "not the bytes that came in"


IMAGES = {
    "ct": ["series/ct-ge-brightspeed-p14sv1/IMG0000%d.dcm" % number for number in range(1, 7)],
    "mr": ["series/mr-siemens-t1-sag-6/*.dcm"],
    "multi-frame": ["encapsulation/dicomparser/CT0012.not_fragmented_bot_jpeg_ls.80.dcm"],
    "ultrasound": ["wg04/US1_RLE"],
    "mammography": ["wg04/MG1_J2KI"],
    "htj2k": ["derived-ts/htj2k_lossless_201_ct16.dcm"],
    "j2k": ["wg04/CT2_J2KR"],
    "12-bit jpeg": ["transfer-syntax/cornerstone-ctimage/*2.4.51.dcm"],
}
# Decoded by the server: the viewer's own decoder is off by a constant.
DECODED = {"1.2.840.10008.1.2.4.51"}


@pytest.mark.parametrize("name", IMAGES)
def test_image(server, namespace, browser, corpus, shots, name):
    paths = sorted(path for pattern in IMAGES[name] for path in corpus.glob(pattern))
    datasets = store(server, *paths)
    for dataset in datasets:
        if dataset.file_meta.TransferSyntaxUID in NATIVE:
            wait_until_dense(server, dataset)
    with Visit(browser, server) as visit:
        visit.open(datasets[0].StudyInstanceUID)
        visit.wait_for_image()
        assert f"/viewer/namespaces/{namespace}/viewer?" in visit.page.url
        visit.page.screenshot(path=shots / f"{name}.png")
        uid = re.search(r"/instances/([^/]+)/frames", visit.page.evaluate(
            "cornerstone.getRenderingEngines()[0].getViewports().find(v => v.csImage).getCurrentImageId()")).group(1)
        shown = next(dataset for dataset in datasets if dataset.SOPInstanceUID == uid)
        print(f"{name}: {compare(visit, shown)} pixels equal")
        check_network(visit, namespace, datasets, dense=True)
        assert visit.errors() == []


def test_pdf(server, namespace, browser, corpus, shots):
    # Small documents lie inside the metadata, large ones at an address of their own.
    small = read(corpus / "derived-ts/encapsulated_pdf.dcm")
    large = read(corpus / "derived-ts/encapsulated_pdf.dcm")
    large.StudyInstanceUID, large.SeriesInstanceUID, large.SOPInstanceUID = (pydicom.uid.generate_uid() for _ in "123")
    large.file_meta.MediaStorageSOPInstanceUID = large.SOPInstanceUID
    large.EncapsulatedDocument = pdf(b"% filler\n" * 40_000)
    large.EncapsulatedDocumentLength = len(large.EncapsulatedDocument)
    for name, dataset in ("small", small), ("large", large):
        stream = io.BytesIO()
        dataset.save_as(stream, enforce_file_format=True)
        assert server.store([stream.getvalue()]).status_code == 200
        with Visit(browser, server) as visit:
            visit.open(dataset.StudyInstanceUID)
            document = visit.page.wait_for_selector("object[type='application/pdf'][data^='blob:']", state="attached",
                                                    timeout=60_000)
            visit.settle(4000)
            visit.page.screenshot(path=shots / f"pdf-{name}.png")
            length = visit.page.evaluate("object => fetch(object.data).then(a => a.arrayBuffer()).then(a => a.byteLength)",
                                         document)
            assert length in (len(dataset.EncapsulatedDocument), dataset.get("EncapsulatedDocumentLength"))
            assert any(frame.url.startswith("chrome-extension:") for frame in visit.page.frames), "no document is shown"
            assert len(visit.fetched("/bulkdata/")) == (name == "large")
            check_network(visit, namespace, [])
            assert visit.errors() == []


def pdf(filler: bytes) -> bytes:
    """A page with a word on it, padded with comments."""
    text = b"BT /F 48 Tf 60 400 Td (Septum) Tj ET"
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
               b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 400 600]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
               b"<</Length %d>>stream\n%s\nendstream" % (len(text), text),
               b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    made, offsets = b"%PDF-1.4\n" + filler, []
    for number, content in enumerate(objects, 1):
        offsets.append(len(made))
        made += b"%d 0 obj%s endobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    end = b"xref\n0 6\n0000000000 65535 f \n" + table + b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % len(made)
    return made + end + b" " * (len(made + end) % 2)


def test_report(server, namespace, browser, corpus, shots):
    (dataset,) = store(server, corpus / "pydicom/reportsi.dcm")
    with Visit(browser, server) as visit:
        visit.open(dataset.StudyInstanceUID)
        visit.page.get_by_text("Observation Context Mode").first.wait_for(timeout=60_000)
        visit.settle()
        visit.page.screenshot(path=shots / "report.png")
        shown = visit.page.inner_text("body")
        for item in dataset.ContentSequence:
            meaning = item.ConceptNameCodeSequence[0].CodeMeaning
            assert meaning in shown, f"{meaning} is not shown"
        check_network(visit, namespace, [])
        assert visit.errors() == []


def key_object(images: list[pydicom.Dataset]) -> bytes:
    """A Key Object Selection that names the images (PS3.3 A.35.4)."""
    first_image = images[0]
    made = pydicom.Dataset()
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate",
                    "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"):
        setattr(made, keyword, first_image.get(keyword, ""))
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.59", pydicom.uid.generate_uid()
    made.SeriesInstanceUID, made.SeriesNumber, made.InstanceNumber = pydicom.uid.generate_uid(), 900, 1
    made.Modality, made.SeriesDescription, made.ContentDate, made.ContentTime = "KO", "Key images", "20200101", "120000"

    def code(value, scheme, meaning):
        item = pydicom.Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
        return [item]

    made.ValueType, made.ContinuityOfContent = "CONTAINER", "SEPARATE"
    made.ConceptNameCodeSequence = code("113000", "DCM", "Of Interest")
    made.ContentTemplateSequence = [pydicom.Dataset()]
    made.ContentTemplateSequence[0].MappingResource = "DCMR"
    made.ContentTemplateSequence[0].TemplateIdentifier = "2010"
    made.ContentSequence, references = [], []
    for image in images:
        reference_to = pydicom.Dataset()
        reference_to.ReferencedSOPClassUID = image.SOPClassUID
        reference_to.ReferencedSOPInstanceUID = image.SOPInstanceUID
        item = pydicom.Dataset()
        item.RelationshipType, item.ValueType = "CONTAINS", "IMAGE"
        item.ReferencedSOPSequence = [reference_to]
        made.ContentSequence.append(item)
        references.append(reference_to)
    series, study = pydicom.Dataset(), pydicom.Dataset()
    series.SeriesInstanceUID, series.ReferencedSOPSequence = first_image.SeriesInstanceUID, references
    study.StudyInstanceUID, study.ReferencedSeriesSequence = first_image.StudyInstanceUID, [series]
    made.CurrentRequestedProcedureEvidenceSequence = [study]
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    stream = io.BytesIO()
    made.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["presentation-state", "key-object"])
def test_objects_beside_images(server, namespace, browser, corpus, shots, name):
    """They are listed with the study, and the images are shown as without them."""
    if name == "key-object":
        datasets = store(server, *sorted(corpus.glob("series/ct-ge-brightspeed-p14sv1/*.dcm")))
        assert server.store([key_object(datasets[:2])]).status_code == 200
        word, referred = "KO", datasets[:2]
    else:
        datasets = store(server, *(corpus / "presentation-state" / file for file in ("imageForPrLUTs.dcm", "prLUTs.dcm")))
        word, referred = "PR", datasets[:1]
    with Visit(browser, server) as visit:
        visit.open(datasets[0].StudyInstanceUID)
        visit.wait_for_image()
        visit.page.screenshot(path=shots / f"{name}.png")
        first_shown = visit.page.evaluate("services.displaySetService.getDisplaySetByUID("
                                          "[...services.viewportGridService.getState().viewports.values()][0]"
                                          ".displaySetInstanceUIDs[0]).Modality")
        assert first_shown == datasets[0].Modality, "the study opens with something else than its images"
        listed = visit.page.locator('[data-cy^="study-browser-thumbnail"]').filter(has_text=word)
        listed.first.dblclick()
        visit.settle()
        visit.page.screenshot(path=shots / f"{name}-opened.png")
        state, _ = visit.shown()
        assert re.search(r"/instances/([^/]+)/frames", state["id"]).group(1) in [one.SOPInstanceUID for one in referred]
        check_network(visit, namespace, datasets)
        assert visit.errors() == []


def test_segmentation(server, namespace, browser, corpus, shots):
    folder = corpus / "wsi-seg-sr/highdicom"
    datasets = store(server, folder / "ct_image.dcm", folder / "seg_image_ct_binary_single_frame.dcm")
    wait_until_dense(server, datasets[0])
    with Visit(browser, server) as visit:
        visit.open(datasets[0].StudyInstanceUID)
        visit.wait_for_image()
        visit.page.locator('[data-cy="study-browser-thumbnail-no-image"]').first.dblclick()
        visit.page.wait_for_function("() => services.segmentationService.getSegmentations().length > 0", timeout=60_000)
        visit.settle()
        visit.page.screenshot(path=shots / "segmentation.png")
        assert visit.errors() == []


def test_prefetch(server, namespace, browser, corpus):
    """Series that are not shown yet are fetched while the first one is looked at."""
    paths = sorted((corpus / "dicomdir/pydicom-cd/98892003").glob("MR*/*"))
    datasets = store(server, *paths)
    study = datasets[0].StudyInstanceUID
    of_series = collections.defaultdict(set)
    for dataset in datasets:
        if dataset.StudyInstanceUID == study:
            of_series[dataset.SeriesInstanceUID].add(dataset.SOPInstanceUID)
    assert len(of_series) > 1
    with Visit(browser, server) as visit:
        visit.open(study)
        visit.wait_for_image()
        visit.settle(3000)
        fetched = {re.search(r"/instances/([^/]+)/", one.url).group(1) for one in visit.fetched(r"/frames/\d+$")}
        whole = [series for series, uids in of_series.items() if uids <= fetched]
        assert len(whole) >= min(3, len(of_series)), f"{len(whole)} of {len(of_series)} series were fetched"
        check_network(visit, namespace, datasets)
        assert visit.errors() == []


def test_priors_stay_in_their_namespace(server, namespace, browser, corpus):
    """Another namespace's patient of the same number is another patient: not a prior."""
    account = server.session.get(server.origin + "/accounts").json()["accounts"][0]["id"]
    answer = server.session.post(f"{server.origin}/accounts/{account}/namespaces", json={"name": "<Other> & co"})
    assert answer.status_code in (200, 201), answer.text
    other = answer.json()["id"]
    here = read(corpus / "wg04/CT2_JPLL")
    there = read(corpus / "wg04/CT2_JPLL")
    for number, dataset in enumerate((here, there)):
        dataset.PatientID = "4711-priors"
        dataset.StudyDescription = ("Own study", "Foreign study")[number]
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = (
            pydicom.uid.generate_uid() for _ in range(3))
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        stream = io.BytesIO()
        dataset.save_as(stream, enforce_file_format=True)
        content_type, body = harness.multipart([stream.getvalue()])
        service = f"{server.origin}/namespaces/{(namespace, other)[number]}/dicomweb"
        answer = server.session.post(service + "/studies", data=body,
                                     headers={"Content-Type": content_type, "Accept": "application/dicom+json"})
        assert answer.status_code == 200, answer.text
    for dataset, place in (here, namespace), (there, other):
        with Visit(browser, server) as visit:
            visit.open(dataset.StudyInstanceUID)
            visit.wait_for_image()
            assert f"/namespaces/{place}/" in visit.page.url
            check_network(visit, place, [dataset])
            shown = visit.page.inner_text("body")
            assert dataset.StudyDescription in shown
            assert (there if dataset is here else here).StudyDescription not in shown
            assert visit.errors() == []
    # Where it is not said which namespace is meant, it is asked. One's own, which signing in made, is not among them.
    signed_in = server.session.post(f"{server.origin}/api/v3/session/login",
                                    data={"login": server.auth[0], "password": server.auth[1]})
    assert signed_in.json()["status"] == "OK"
    answer = server.session.get(server.origin + "/viewer", allow_redirects=False)
    assert answer.status_code == 300 and "&lt;Other&gt; &amp; co" in answer.text and "<script" not in answer.text
    assert answer.text.count("<li>") == 2
    answer = server.session.get(f"{server.origin}/viewer?namespace={other}&a=%2F", allow_redirects=False)
    assert answer.headers["Location"] == f"/viewer/namespaces/{other}/?a=%2F"


def test_study_list(server, namespace, browser, corpus, shots):
    datasets = store(server, corpus / "wg04/US1_RLE")
    with Visit(browser, server) as visit:
        visit.page.goto(f"{server.origin}/viewer?namespace={namespace}")
        visit.page.get_by_text("US", exact=True).first.wait_for(timeout=60_000)
        visit.settle()
        visit.page.screenshot(path=shots / "study-list.png")
        assert urllib.parse.urlsplit(visit.page.url).path == f"/viewer/namespaces/{namespace}/"
        check_network_without_series(visit, namespace)
        assert visit.errors() == []
    assert datasets


def check_network_without_series(visit: Visit, namespace: str) -> None:
    spoken = visit.fetched("/dicomweb/")
    assert spoken and all(f"/namespaces/{namespace}/dicomweb/" in one.url for one in spoken)


def test_signing_in(server, namespace):
    """Everything below /viewer asks for the same name and password as DICOMweb."""
    for path in ("/viewer", "/viewer/", f"/viewer/namespaces/{namespace}/viewer", "/viewer/app-config.js", "/viewer/x"):
        answer = requests.get(server.origin + path, verify=server.verify, allow_redirects=False)
        assert answer.status_code == 401 and answer.headers["WWW-Authenticate"].startswith("Basic "), path
    answer = server.session.get(f"{server.origin}/viewer/namespaces/{'0' * 32}/viewer")
    assert answer.status_code == 404, "a namespace that is not there"


def test_files(server, namespace, dist):
    get = server.session.get
    page = get(f"{server.origin}/viewer/namespaces/{namespace}/viewer?StudyInstanceUIDs=1.2")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))
    assert policy["script-src"] == "'self' 'wasm-unsafe-eval'" and policy["default-src"] == "'none'"
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert not re.search(r"<script(?![^>]* src=)", page.text) and not re.search(r'(href|src)="/(?!viewer/)', page.text)
    # The page's own files are all there, compressed or not.
    for address in re.findall(r'(?:href|src|content)="(/[^"]+)"', page.text):
        answer = get(server.origin + address)
        assert answer.status_code == 200, address
        plain = get(server.origin + address, headers={"Accept-Encoding": "identity"})
        assert plain.content == answer.content and "Content-Encoding" not in plain.headers, address
        again = get(server.origin + address, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304 and not again.content, address
    wasm = next(pathlib.Path(dist).glob("*.wasm.gz")).name.removesuffix(".gz")
    answer = get(f"{server.origin}/viewer/{wasm}")
    assert answer.headers["Content-Type"] == "application/wasm" and "immutable" in answer.headers["Cache-Control"]
    worker = next(path for path in pathlib.Path(dist).glob("*.bundle.*.js.gz")).name.removesuffix(".gz")
    assert "document" not in get(f"{server.origin}/viewer/{worker}").headers["Content-Security-Policy"]
    for path in ("index.html", "../README.md", "..%2fREADME.md", "%2e%2e/%2e%2e/etc/passwd", "assets", "assets/",
                 "/etc/passwd", "index.html.gz", "sw.js", "app-config.js%00"):
        request = requests.Request("GET", server.origin).prepare()
        request.url = f"{server.origin}/viewer/{path}"
        request.prepare_auth(server.auth)
        answer = server.session.send(request, verify=server.verify, allow_redirects=False)
        assert answer.status_code in (400, 404), (path, answer.status_code)
