// An audio worklet: the microphone as 16 kHz mono, 16 bits, in chunks of a tenth of a second.

const RATE = 16_000;
const CHUNK = 1_600;

class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.chunk = new Int16Array(CHUNK);
    this.filled = 0;
    this.peak = 0;
    // Where the context could not be had at 16 kHz: each sample is the mean of the input that falls into its time.
    this.step = sampleRate / RATE;
    this.sum = 0;
    this.weight = 0;
    this.port.onmessage = () => this.flush();
  }

  process([channels]) {
    if (!channels?.length) return true;
    const count = channels[0].length;
    for (let index = 0; index < count; index += 1) {
      let sample = 0;
      for (const channel of channels) sample += channel[index];
      this.take(sample / channels.length);
    }
    return true;
  }

  take(sample) {
    if (this.step === 1) return this.put(sample);
    let left = 1;
    while (this.weight + left >= this.step) {
      const part = this.step - this.weight;
      this.put((this.sum + sample * part) / this.step);
      left -= part;
      this.sum = 0;
      this.weight = 0;
    }
    this.sum += sample * left;
    this.weight += left;
  }

  put(sample) {
    const clipped = Math.max(-1, Math.min(1, sample));
    this.peak = Math.max(this.peak, Math.abs(clipped));
    this.chunk[this.filled] = Math.round(clipped * 32_767);
    this.filled += 1;
    if (this.filled === CHUNK) this.send();
  }

  send() {
    const pcm = this.chunk.slice(0, this.filled);
    this.port.postMessage({ pcm, peak: this.peak }, [pcm.buffer]);
    this.filled = 0;
    this.peak = 0;
  }

  flush() {
    if (this.filled) this.send();
    this.port.postMessage({ end: true });
  }
}

registerProcessor("microphone", Microphone);
