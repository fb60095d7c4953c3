/* Search without a server or a network. A browser starts no Worker from a file, so that the search of a page that is read
   from disk runs in a hidden frame of it instead. The theme asks for it by this name (IFrameWorker). */
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.answer = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.ready = new Promise((done) => this.frame.addEventListener("load", done));
      const start = `(${inFrame})()`.replaceAll("</", "<\\/");
      this.frame.srcdoc = `<body><script>${start}</script><script src="${new URL(url, document.baseURI)}"></script>`;
      document.body.append(this.frame);
    }

    async postMessage(data) {
      await this.ready;
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }));
    }

    terminate() {
      this.frame.remove();
    }
  };
  window.Worker = window.IFrameWorker;

  /* What a worker finds around it. */
  function inFrame() {
    window.postMessage = frameElement.answer;
    window.importScripts = async (...urls) => {
      for (const url of urls) {
        await new Promise((done, failed) => {
          const script = Object.assign(document.createElement("script"), { src: url, onload: done, onerror: failed });
          document.body.append(script);
        });
      }
    };
  }
}
