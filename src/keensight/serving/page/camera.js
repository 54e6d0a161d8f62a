// One picture from the camera: live where the browser allows it, else through the phone's own camera.

import { Refused } from "./api.js";
import { $, openDialog } from "./dom.js";

const WANTED = { video: { facingMode: "environment", width: { ideal: 1920 } } };
const QUALITY = 0.92;

// Resolves to a File, or to null where no picture was taken.
export async function takePicture() {
  if (!navigator.mediaDevices) return viaPhone(); // the page did not come over https
  const stream = await navigator.mediaDevices.getUserMedia(WANTED).catch((error) => {
    throw new Refused(`The camera cannot be used (${error.message || error.name}). Choose a picture file instead.`);
  });
  const video = $("video");
  let taken = null;
  const ready = () => ($("shoot").disabled = false);
  const shoot = () => {
    taken = frame(video);
    $("camera-dialog").close();
  };
  video.addEventListener("playing", ready, { once: true });
  $("shoot").addEventListener("click", shoot);
  video.srcObject = stream;
  const closed = openDialog($("camera-dialog"));
  video.play().catch(() => {});
  await closed;
  $("shoot").removeEventListener("click", shoot);
  $("shoot").disabled = true;
  video.srcObject = null;
  for (const track of stream.getTracks()) track.stop();
  return taken;
}

function frame(video) {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((resolve) =>
    canvas.toBlob((blob) => resolve(blob && new File([blob], "camera.jpg", { type: "image/jpeg" })), "image/jpeg", QUALITY),
  );
}

function viaPhone() {
  const input = $("capture");
  return new Promise((resolve) => {
    const done = () => {
      resolve(input.files[0] ?? null);
      input.value = "";
    };
    input.addEventListener("change", done, { once: true });
    input.addEventListener("cancel", done, { once: true });
    input.click();
  });
}
