// The frame around NiiVue. It has no origin, no cookie and no way to any server: what it draws comes in messages from
// the page that holds it, as grey levels that were windowed there, and all it sends back is where the cross stands.
(() => {
  "use strict";
  const LAYOUTS = { all: 3, axial: 0, coronal: 1, sagittal: 2, volume: 4 }; // NiiVue's SLICE_TYPE
  const GRID = 2; // NiiVue's MULTIPLANAR_TYPE
  const UINT8 = 2; // NIfTI's code
  const NEVER_DRAG = 0, PAN = 3, CROSS = 8; // NiiVue's DRAG_MODE
  const canvas = document.querySelector("#canvas");
  const tell = (message) => parent.postMessage(message, "*"); // holds no value of any image
  let nv = null;

  const failed = (error) => tell({ said: "failed", why: String(error?.message ?? error) });

  async function show({ levels, shape: [z, y, x], spacing, affine, letters }) {
    nv = new niivue.Niivue({
      isRadiologicalConvention: true, // its default is the neurological one
      sagittalNoseLeft: true,
      isOrientationTextVisible: letters,
      showAllOrientationMarkers: false, // planes touch: the L of one beside the A of the next would read LA
      isNearestInterpolation: true,
      isColorbar: false,
      isRuler: false,
      dragAndDropEnabled: false,
      // Windows are set outside, from the numbers: here 0 is black and 255 is white.
      dragMode: NEVER_DRAG,
      mouseEventConfig: { leftButton: { primary: CROSS }, rightButton: PAN, centerButton: PAN },
      multiplanarShowRender: 1, // always
      multiplanarLayout: GRID, // left to itself it puts four in one row, however narrow
      crosshairColor: [0.49, 0.77, 1, 1],
      crosshairWidthUnit: "percent",
      crosshairWidth: 0.4,
      fontColor: [1, 0.91, 0.66, 1],
      backColor: [0, 0, 0, 1],
      loadingText: "",
      logLevel: "silent",
      clipPlaneHotKey: "",
      cycleClipPlaneHotKey: "",
      viewModeHotKey: "",
    });
    nv.onLocationChange = ({ vox }) => tell({ said: "at", voxel: Array.from(vox.slice(0, 3), Math.round) });
    await nv.attachToCanvas(canvas, false);
    const file = niivue.NVImage.createNiftiArray([x, y, z], spacing.toReversed(), affine, UINT8, new Uint8Array(levels));
    const image = await niivue.NVImage.new(file.buffer, "volume.nii", "gray", 1, null, 0, 255);
    nv.addVolume(image);
    nv.setSliceType(LAYOUTS.all);
    nv.drawScene();
    tell({ said: "drawn" });
  }

  const acts = {
    show,
    levels({ levels }) {
      nv.volumes[0].img = new Uint8Array(levels);
      nv.updateGLVolume();
      tell({ said: "drawn" });
    },
    layout({ name }) {
      nv.setSliceType(LAYOUTS[name]);
      nv.drawScene();
      tell({ said: "drawn" });
    },
    turn({ by: [azimuth, elevation] }) {
      nv.setRenderAzimuthElevation(nv.scene.renderAzimuth + azimuth, nv.scene.renderElevation + elevation);
    },
    zoom({ by }) {
      nv.setScale(Math.min(8, Math.max(0.25, nv.volScaleMultiplier * by)));
      const [px, py, pz, scale] = nv.scene.pan2Dxyzmm;
      nv.setPan2Dxyzmm([px, py, pz, Math.min(16, Math.max(0.25, scale * by))]);
    },
    /** Move the cross by voxels towards R, A, S. */
    move({ by: [x, y, z] }) {
      nv.moveCrosshairInVox(x, y, z);
    },
    reset() {
      nv.setScale(1);
      nv.setPan2Dxyzmm([0, 0, 0, 1]);
      nv.setRenderAzimuthElevation(110, 10);
      nv.scene.crosshairPos = [0.5, 0.5, 0.5];
      nv.drawScene();
    },
  };

  addEventListener("message", async ({ source, data }) => {
    if (source !== parent || !Object.hasOwn(acts, data?.do)) return;
    try {
      await acts[data.do](data);
    } catch (error) {
      failed(error);
    }
  });
  // Keys are the page's, wherever the mouse has put the focus; NiiVue has some of its own, and a double click too.
  for (const type of ["keydown", "keyup", "dblclick"]) {
    addEventListener(type, (event) => {
      event.stopImmediatePropagation();
      if (type === "keydown" && !event.ctrlKey && !event.metaKey && event.key !== "Tab") {
        event.preventDefault();
        tell({ said: "key", key: event.key, shift: event.shiftKey });
      }
    }, true);
  }
  canvas.addEventListener("webglcontextlost", () => failed("the graphics of this computer gave up"));
  if (typeof niivue === "undefined") failed("NiiVue is not the file that this program was made with");
  else tell({ said: "ready" });
})();
