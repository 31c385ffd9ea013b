// Browsers allow no worker to a page that is opened as a file. There, the search's own runs in a
// hidden frame. The theme knows it by this name.
window.IFrameWorker = class extends EventTarget {
  #frame
  #ready

  constructor(url) {
    super()
    this.#frame = document.createElement("iframe")
    this.#frame.hidden = true
    document.body.append(this.#frame)
    const inside = this.#frame.contentWindow
    // Now the frame has the document that it will keep.
    inside.document.open()
    inside.document.close()
    const load = (source) =>
      new Promise((resolve, reject) => {
        const script = inside.document.createElement("script")
        script.onload = resolve
        script.onerror = () => reject(new Error(`${source} can't be loaded`))
        script.src = new URL(source, document.baseURI)
        inside.document.documentElement.append(script)
      })
    inside.importScripts = async (...sources) => {
      for (const source of sources) await load(source)
    }
    inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }))
    this.#ready = load(url)
  }

  async postMessage(data) {
    await this.#ready
    const inside = this.#frame.contentWindow
    inside.dispatchEvent(new inside.MessageEvent("message", { data: structuredClone(data) }))
  }

  terminate() {
    this.#frame.remove()
  }
}
if (location.protocol === "file:") window.Worker = window.IFrameWorker

// An option is looked for as it is written, `--dind-load`; a minus before a word is the search's own
// sign for what a page is not to have.
const QUERY = 2
const post = window.Worker.prototype.postMessage
window.Worker.prototype.postMessage = function (message, ...rest) {
  const asked = message?.type === QUERY && typeof message.data === "string"
  const data = asked ? message.data.replace(/(^|\s)--+/g, "$1") : undefined
  return post.call(this, asked ? { ...message, data } : message, ...rest)
}
