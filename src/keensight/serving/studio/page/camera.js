// The camera: one picture after the other, or a series while the button is on; and frames for live answers.

import { Refused } from "./api.js";
import { $, count, openDialog } from "./dom.js";

const WANTED = { video: { facingMode: "environment", width: { ideal: 1280 } } };
const QUALITY = 0.9;
const EVERY_MS = 200; // of a series

export async function watching(video) {
  const stream = await navigator.mediaDevices?.getUserMedia(WANTED).catch((error) => {
    throw new Refused(`The camera cannot be used (${error.message || error.name}). Choose picture files instead.`);
  });
  if (!stream) throw new Refused("This browser gives no camera to the page. Choose picture files instead.");
  video.srcObject = stream;
  await video.play();
  return () => {
    video.srcObject = null;
    for (const track of stream.getTracks()) track.stop();
  };
}

// Resolves to a JPEG of what the video shows, its longer side at most `most` pixels.
export function frame(video, most, name = "camera.jpg") {
  const scale = Math.min(1, most / Math.max(video.videoWidth, video.videoHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(video.videoWidth * scale);
  canvas.height = Math.round(video.videoHeight * scale);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob((blob) => resolve(new File([blob], name, { type: "image/jpeg" })), "image/jpeg", QUALITY));
}

// Opens the camera until the dialog is closed; `got` hears of each picture.
export async function takePictures(most, got) {
  const stop = await watching($("video"));
  let taken = 0;
  let series = 0;
  const one = async () => {
    got(await frame($("video"), most, `camera-${Date.now()}.jpg`));
    taken++;
    $("shots").textContent = `${count(taken, "picture")} taken`;
  };
  const toggle = () => {
    const isOn = Boolean(series);
    clearInterval(series);
    series = isOn ? 0 : setInterval(one, EVERY_MS);
    $("series").setAttribute("aria-pressed", String(!isOn));
    $("series").textContent = isOn ? "Take a series" : "Stop the series";
  };
  $("shots").textContent = "Turn the thing, and move it: the more the pictures differ, the better.";
  $("shoot").disabled = $("series").disabled = false;
  $("shoot").addEventListener("click", one);
  $("series").addEventListener("click", toggle);
  await openDialog($("camera-dialog"));
  if (series) toggle();
  $("shoot").removeEventListener("click", one);
  $("series").removeEventListener("click", toggle);
  stop();
}
