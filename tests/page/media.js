/**
 * Runs in the page before its own scripts: gives it a microphone, a camera and a screen that can be told from everyone
 * else's, and finds others' sound and picture again. `options` come from lib/browsers.js.
 *
 * @param {{tone: number, hue: number, width: number, height: number, fps: number, fakeMicrophone: boolean,
 *          noise?: number, speech?: boolean, volume?: number, relays: Record<string, number>, relayAddress?: string, transportPolicy?: 'relay', servers?: string,
 *          candidates?: string}} options `noise`: how much of each picture, of 255, is chance; `speech`: a sound that comes and goes like syllables, `volume` times as loud as
 * others' hums; of the server's ICE candidates, and of its TURN servers, only those that match the
 *          regular expressions `candidates` and `servers` are known to the browser
 */
export function instrument(options) {
  const SAMPLES = 16384;

  // ---- what this participant shows and says ----

  /** A sine of the own tone, breathing slowly: a tone that never changes is background noise to a voice codec. */
  function microphone() {
    const context = new AudioContext({ sampleRate: 48000 });
    const sine = new OscillatorNode(context, { frequency: options.tone });
    const breath = new OscillatorNode(context, { frequency: 3 });
    const depth = new GainNode(context, { gain: options.speech ? 0.27 : 0.1 });
    const loudness = new GainNode(context, { gain: 0.3 });
    const volume = new GainNode(context, { gain: options.volume ?? 1 });
    const out = new MediaStreamAudioDestinationNode(context, { channelCount: 1 });
    sine.connect(loudness).connect(volume).connect(out);
    window.__test.speak = (times) => (volume.gain.value = times);
    breath.connect(depth).connect(loudness.gain);
    sine.start();
    breath.start();
    return out.stream.getAudioTracks()[0];
  }

  /** A surface of one hue with a white bar that wanders from left to right. */
  function picture(width, height, hue, fps) {
    const canvas = document.createElement('canvas');
    canvas.width = width;
    canvas.height = height;
    const pen = canvas.getContext('2d', { alpha: false });
    const stream = canvas.captureStream(fps);
    const [track] = stream.getVideoTracks();
    let frame = 0;
    // What an encoder cannot foresee: a picture that costs as many bits as a real one.
    const grain = new OffscreenCanvas(width / 8, height / 8);
    const grainPen = grain.getContext('2d');
    const sand = () => {
      const dots = grainPen.createImageData(grain.width, grain.height);
      for (let i = 0; i < dots.data.length; i += 4) {
        dots.data.fill(Math.random() * 255, i, i + 3);
        dots.data[i + 3] = options.noise;
      }
      grainPen.putImageData(dots, 0, 0);
      pen.drawImage(grain, 0, 0, width, height);
    };
    const draw = () => {
      pen.fillStyle = `hsl(${hue} 90% 45%)`;
      pen.fillRect(0, 0, width, height);
      // Someone sits there: head and shoulders, darker and of the same hue.
      pen.fillStyle = `hsl(${hue} 90% 30%)`;
      pen.beginPath();
      pen.arc(width / 2, height * 0.45, height * 0.2, 0, 2 * Math.PI);
      pen.ellipse(width / 2, height * 1.05, height * 0.45, height * 0.35, 0, 0, 2 * Math.PI);
      pen.fill();
      if (options.noise) sand();
      pen.fillStyle = 'white';
      pen.fillRect(((frame * 8) % 640) * (width / 640), 0, width / 12, height);
      frame += 1;
      if (track.readyState === 'ended') clearInterval(timer);
    };
    const timer = setInterval(draw, 1000 / fps);
    draw();
    // A camera takes wishes for size and rate; a canvas track refuses them in some browsers.
    track.applyConstraints = async () => {};
    return track;
  }

  const devices = navigator.mediaDevices;
  const realUserMedia = devices?.getUserMedia.bind(devices);
  if (devices) {
    devices.getUserMedia = async (constraints = {}) => {
      const tracks = [];
      if (constraints.audio && options.fakeMicrophone) {
        // No sound card, no audio clock: WebAudio stands still here, the browser's own fake microphone does not.
        const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
        tracks.push(...(await realUserMedia({ audio: plain })).getAudioTracks());
      } else if (constraints.audio) {
        tracks.push(microphone());
      }
      if (constraints.video) tracks.push(picture(options.width, options.height, options.hue, options.fps));
      return new MediaStream(tracks);
    };
    // The screen is told from the camera by the opposite hue.
    devices.getDisplayMedia = async () => new MediaStream([picture(1280, 720, (options.hue + 180) % 360, 10)]);
  }

  // ---- the way to the server ----

  const relayed = (line) =>
    line.replace(/^((?:a=)?candidate:\S+ \d+ udp \d+) (\S+) (\d+) /i, (whole, head, _address, port) =>
      port in options.relays ? `${head} ${options.relayAddress ?? '127.0.0.1'} ${options.relays[port]} ` : whole,
    );
  const connection = RTCPeerConnection.prototype;
  const { setRemoteDescription, addIceCandidate } = connection;
  connection.setRemoteDescription = function (description) {
    window.__remoteSdp = description.sdp;
    return setRemoteDescription.call(this, description);
  };
  if (Object.keys(options.relays).length > 0) {
    connection.setRemoteDescription = function (description) {
      // Only relayed candidates stay: a direct way beside the relay would be taken.
      const kept = description.sdp
        .split('\r\n')
        .filter((line) => !/^a=candidate:\S+ \d+ tcp /i.test(line) && !/^a=candidate:\S+ \d+ udp \d+ \S*:/i.test(line));
      return setRemoteDescription.call(this, { type: description.type, sdp: kept.map(relayed).join('\r\n') });
    };
    connection.addIceCandidate = function (candidate) {
      if (!candidate?.candidate) return addIceCandidate.call(this, candidate);
      return addIceCandidate.call(this, { ...candidate, candidate: relayed(candidate.candidate) });
    };
  }

  if (options.candidates) {
    const wanted = new RegExp(options.candidates, 'i');
    const known = connection.setRemoteDescription;
    connection.setRemoteDescription = function (description) {
      const kept = description.sdp.split('\r\n').filter((line) => !line.startsWith('a=candidate:') || wanted.test(line));
      return known.call(this, { type: description.type, sdp: kept.join('\r\n') });
    };
  }
  if (options.transportPolicy) {
    const wanted = new RegExp(options.servers ?? '', 'i');
    const strict = (configuration) => ({
      ...configuration,
      iceTransportPolicy: options.transportPolicy,
      iceServers: (configuration?.iceServers ?? []).map((one) => ({ ...one, urls: [one.urls].flat().filter((url) => wanted.test(url)) })),
    });
    const Connection = window.RTCPeerConnection;
    window.RTCPeerConnection = class extends Connection {
      constructor(configuration, ...rest) {
        super(strict(configuration), ...rest);
      }
      setConfiguration(configuration) {
        super.setConfiguration(strict(configuration));
      }
    };
  }

  // ---- what this participant hears and sees ----

  const room = () => window.__conclave?.room;

  /** Which share of a sound's power lies at each tone (Goertzel on a Hann window), and how loud it is. */
  function spectrum(samples, rate, tones) {
    let power = 0;
    for (const sample of samples) power += sample * sample;
    const mean = power / samples.length;
    const shares = {};
    for (const tone of tones) {
      const step = (2 * Math.PI * tone) / rate;
      let [re, im, gain] = [0, 0, 0];
      for (let i = 0; i < samples.length; i++) {
        const window = 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / samples.length);
        re += window * samples[i] * Math.cos(step * i);
        im += window * samples[i] * Math.sin(step * i);
        gain += window;
      }
      shares[tone] = mean > 1e-9 ? (2 * (re * re + im * im)) / (gain * gain) / mean : 0;
    }
    return { loudness: Math.sqrt(mean), shares };
  }

  let ears;
  const analysers = new WeakMap();
  async function samplesByAnalyser(track) {
    ears ??= new AudioContext({ sampleRate: 48000 });
    await ears.resume();
    let analyser = analysers.get(track);
    const fresh = analyser === undefined;
    if (fresh) {
      analyser = new AnalyserNode(ears, { fftSize: SAMPLES });
      ears.createMediaStreamSource(new MediaStream([track])).connect(analyser);
      analysers.set(track, analyser);
    }
    if (fresh) await new Promise((done) => setTimeout(done, (SAMPLES / 48) * 1.3));
    const samples = new Float32Array(SAMPLES);
    analyser.getFloatTimeDomainData(samples);
    return { samples, rate: 48000 };
  }

  async function samplesByRecording(track) {
    const recorder = new MediaRecorder(new MediaStream([track]));
    const pieces = [];
    recorder.ondataavailable = (event) => pieces.push(event.data);
    const stopped = new Promise((done) => (recorder.onstop = done));
    recorder.start();
    setTimeout(() => recorder.stop(), 900);
    await stopped;
    const bytes = await new Blob(pieces).arrayBuffer();
    if (bytes.byteLength === 0) return { samples: new Float32Array(1), rate: 48000 };
    const sound = await new OfflineAudioContext(1, 48000, 48000).decodeAudioData(bytes);
    const all = sound.getChannelData(0);
    // The beginning of a recording is an encoder settling.
    return { samples: all.slice(Math.max(0, all.length - SAMPLES)), rate: sound.sampleRate };
  }

  function publications(kind, source) {
    const found = [];
    for (const person of room()?.remoteParticipants.values() ?? []) {
      for (const publication of person.trackPublications.values()) {
        if (publication.kind !== kind || (source && publication.source !== source)) continue;
        found.push({ identity: person.identity, publication });
      }
    }
    return found;
  }

  async function listen(tones) {
    const heard = {};
    const ways = publications('audio', 'microphone').map(async ({ identity, publication }) => {
      const track = publication.track?.mediaStreamTrack;
      if (!track) return (heard[identity] = { missing: true });
      try {
        const { samples, rate } = await (options.fakeMicrophone ? samplesByRecording : samplesByAnalyser)(track);
        heard[identity] = { muted: publication.isMuted, played: publication.track.attachedElements.length > 0, ...spectrum(samples, rate, tones) };
      } catch (error) {
        heard[identity] = { failed: String(error) };
      }
    });
    await Promise.all(ways);
    return heard;
  }

  /** Mean hue of the coloured pixels, and the place (0 to 1) of the colourless bar. */
  function hueAndBar(video) {
    const [width, height] = [64, 36];
    const canvas = document.createElement('canvas');
    Object.assign(canvas, { width, height });
    const pen = canvas.getContext('2d', { willReadFrequently: true });
    pen.drawImage(video, 0, 0, width, height);
    const { data } = pen.getImageData(0, 0, width, height);
    let [x, y, coloured] = [0, 0, 0];
    const pale = new Array(width).fill(0);
    for (let i = 0; i < data.length; i += 4) {
      const [r, g, b] = [data[i], data[i + 1], data[i + 2]];
      const [high, low] = [Math.max(r, g, b), Math.min(r, g, b)];
      if (high - low < 60) {
        if (high > 150) pale[(i / 4) % width] += 1;
        continue;
      }
      const sector = high === r ? (g - b) / (high - low) : high === g ? 2 + (b - r) / (high - low) : 4 + (r - g) / (high - low);
      x += Math.cos((sector * Math.PI) / 3);
      y += Math.sin((sector * Math.PI) / 3);
      coloured += 1;
    }
    const bar = pale.indexOf(Math.max(...pale)) / width;
    const hue = coloured > 100 ? ((Math.atan2(y, x) * 180) / Math.PI + 360) % 360 : null;
    return { hue, bar };
  }

  async function look(source = 'camera') {
    const seen = {};
    for (const { identity, publication } of publications('video', source)) {
      const track = publication.track;
      if (!track) {
        seen[identity] = { missing: true, muted: publication.isMuted };
        continue;
      }
      const report = await track.getRTCStatsReport();
      const inbound = [...(report?.values() ?? [])].find((entry) => entry.type === 'inbound-rtp') ?? {};
      const video = track.attachedElements.find((element) => element.isConnected && element.videoWidth > 0);
      seen[identity] = {
        muted: publication.isMuted,
        frames: inbound.framesDecoded ?? 0,
        // For the words of a failure.
        why: `${track.streamState}, ${inbound.packetsReceived} packets, ${inbound.framesReceived} frames received, ${inbound.pliCount} PLI, ${inbound.nackCount} NACK`,
        width: video?.videoWidth ?? 0,
        height: video?.videoHeight ?? 0,
        ...(video ? hueAndBar(video) : { hue: null, bar: null }),
      };
    }
    return seen;
  }

  /** The connection's inbound-rtp or outbound-rtp reports as plain objects, with the track's owner where there is one. */
  async function stats(kind) {
    const all = [];
    const owned =
      kind === 'outbound-rtp'
        ? [...room().localParticipant.trackPublications.values()].map((publication) => ({ identity: null, publication }))
        : [...publications('audio'), ...publications('video')];
    for (const { identity, publication } of owned) {
      const report = await publication.track?.getRTCStatsReport();
      for (const entry of report?.values() ?? []) {
        if (entry.type === kind) all.push({ ...entry, identity, source: publication.source, sid: publication.trackSid });
      }
    }
    return all;
  }

  /** The pair of candidates that media takes, as the browser reports it. */
  async function pair() {
    const all = [...((await room().engine.pcManager.publisher.getStats())?.values() ?? [])];
    const transport = all.find((one) => one.type === 'transport' && one.selectedCandidatePairId);
    const found = transport
      ? all.find((one) => one.id === transport.selectedCandidatePairId)
      : all.find((one) => one.type === 'candidate-pair' && one.selected);
    if (!found) return null;
    const [local, remote] = [found.localCandidateId, found.remoteCandidateId].map((id) => all.find((one) => one.id === id) ?? {});
    return {
      type: local.candidateType,
      protocol: local.protocol,
      relayProtocol: local.relayProtocol,
      localAddress: local.address,
      remoteType: remote.candidateType,
      remoteProtocol: remote.protocol,
      address: remote.address,
      port: remote.port,
    };
  }

  /** Follows the frames of one video: size, RTP time and moment of each. */
  function watch(identity) {
    const { publication } = publications('video', 'camera').find((one) => one.identity === identity) ?? {};
    const video = publication?.track?.attachedElements.find((element) => element.isConnected);
    if (!video) return false;
    window.__frames = [];
    const note = (now, meta) => {
      window.__frames.push({ rtp: meta.rtpTimestamp, width: meta.width, height: meta.height, presented: meta.presentedFrames, now });
      video.requestVideoFrameCallback(note);
    };
    video.requestVideoFrameCallback(note);
    return true;
  }

  const events = [];
  window.__test = { listen, look, stats, pair, watch, events };
  const hook = setInterval(() => {
    const current = room();
    if (!current || current.__hooked) return;
    current.__hooked = true;
    for (const name of ['reconnecting', 'signalReconnecting', 'reconnected', 'disconnected', 'connected', 'trackSubscriptionFailed']) {
      current.on(name, (detail) => events.push({ name, detail: typeof detail === 'object' ? undefined : String(detail), at: performance.now() }));
    }
    if (window.__testKeep !== true) return;
    clearInterval(hook);
  }, 20);
}
