// XMLHttpRequest for Node, as far as dicomweb-client uses it: asynchronous, with the browser's rules for headers and answers.

export class XMLHttpRequest {
  readyState = 0;
  status = 0;
  response = null;
  responseType = '';
  #headers = new Headers();
  #answer = null;

  open(method, url) {
    this.method = method.toUpperCase();
    this.url = url;
    this.readyState = 1;
  }

  setRequestHeader(name, value) {
    // A second value for a name goes behind the first.
    this.#headers.append(name, value);
  }

  getResponseHeader(name) {
    return this.#answer?.headers.get(name) ?? null;
  }

  getAllResponseHeaders() {
    return [...(this.#answer?.headers ?? [])].map(([name, value]) => `${name}: ${value}\r\n`).join('');
  }

  async send(body) {
    try {
      this.#answer = await fetch(this.url, { method: this.method, headers: this.#headers, body });
      const bytes = await this.#answer.arrayBuffer();
      this.status = this.#answer.status;
      this.response = this.#read(bytes);
    } catch (error) {
      // As in a browser, nothing is said to the page.
      console.error(error);
      this.status = 0;
    }
    this.readyState = 4;
    this.onreadystatechange?.();
    this.onloadend?.();
  }

  #read(bytes) {
    if (this.responseType === 'arraybuffer') return bytes;
    const text = new TextDecoder().decode(bytes);
    if (this.responseType !== 'json') return text;
    try {
      return JSON.parse(text);
    } catch {
      return null;
    }
  }
}
