// Saves the plane as an SVG or a PNG file.

async function download(type) {
  const blob = type === "svg" ? await asSvg() : await asPng(2);
  const link = element("a", {
    href: URL.createObjectURL(blob),
    download: `lindyn-phase.${type}`,
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// Adds the background colour, and a description with the version and the state of the page.
async function asSvg() {
  const text = await (await figures.plane.view.export("svg").to_blob()).text();
  const about = document.createElement("desc");
  about.textContent = `${given.version} #${toHash(state)}`;
  const paper = `<rect width="100%" height="100%" fill="${colors.paper}"/>`;
  const svg = text.replace(/<svg[^>]*>/, (start) => start + about.outerHTML + paper);
  return new Blob([svg], { type: "image/svg+xml" });
}

async function asPng(scale) {
  const url = URL.createObjectURL(await asSvg());
  const { width, height } = figures.plane.view.bbox;
  const image = new Image(width, height);
  image.src = url;
  await image.decode();
  const canvas = element("canvas", { width: width * scale, height: height * scale });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(url);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
