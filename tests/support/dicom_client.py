"""DICOM's upper layer in plain Python (PS3.8, PS3.7): a sender that is fast, that may be broken on
purpose at every byte, and a receiver that answers what a test wants. Nothing of medaid or DCMTK is in
it, so that both ends are not wrong in the same way."""
import contextlib
import secrets
import socket
import socketserver
import struct
import threading

import pydicom
import pydicom.filebase

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
VERIFICATION, CONTEXT = "1.2.840.10008.1.1", "1.2.840.10008.3.1.1.1"
OUR_CLASS_UID = "2.25.7707302411"
MAX_PDU_BYTES = 131072
STORE, STORE_RESPONSE, ECHO, ECHO_RESPONSE = 0x0001, 0x8001, 0x0030, 0x8030
# Kinds of PDU, PS3.8 section 9.3.1
RQ, AC, RJ, DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)


class Refused(Exception):
    """The association was rejected, or the presentation context."""


class Gone(ConnectionError):
    """The peer hung up or aborted."""


def new_uid():
    """A UID of 64 characters: one takes the place of another in a file's bytes."""
    return "2.25." + "".join(secrets.choice("123456789") for _ in range(59))


class Object:
    """A dataset as bytes, with what C-STORE has to say of it."""

    def __init__(self, path):
        raw = open(path, "rb").read()
        meta = pydicom.filereader.read_file_meta_info(path)
        self.sop_class = meta.MediaStorageSOPClassUID
        self.sop_instance = meta.MediaStorageSOPInstanceUID
        self.syntax = meta.TransferSyntaxUID
        # preamble, prefix, (0002,0000) of 12 bytes, whose value counts the rest of the group
        (n_bytes,) = struct.unpack_from("<I", raw, 140)
        self.data = raw[144 + n_bytes:]

    def changed(self, old_to_new):
        """A copy in whose bytes each UID is another of the same length."""
        copy = object.__new__(Object)
        copy.sop_class, copy.syntax, copy.data = self.sop_class, self.syntax, self.data
        copy.sop_instance = old_to_new.get(self.sop_instance, self.sop_instance)
        for old, new in old_to_new.items():
            assert len(old) == len(new) and old in self.data.decode("latin-1"), "not replaceable"
            copy.data = copy.data.replace(old.encode(), new.encode())
        return copy


def pdu(kind, body):
    """PS3.8 section 9.3.1."""
    return struct.pack(">BxI", kind, len(body)) + body


def item(kind, body):
    """An item of an association request, PS3.8 section 9.3.2."""
    return struct.pack(">BxH", kind, len(body)) + body


def items_in(raw):
    """(kind, value) of each item in a row of items."""
    at = 0
    while at < len(raw):
        kind, n_bytes = struct.unpack_from(">BxH", raw, at)
        yield kind, raw[at + 4:at + 4 + n_bytes]
        at += 4 + n_bytes


def text_of(value):
    """A UID without its padding."""
    return value.decode("ascii").rstrip("\0")


def user_information():
    """Maximum length and implementation class, PS3.8 annex D."""
    return item(0x50, item(0x51, struct.pack(">I", MAX_PDU_BYTES)) +
                item(0x52, OUR_CLASS_UID.encode()))


def element(number, value):
    """Of the command group, implicit little endian."""
    if isinstance(value, int):
        value = struct.pack("<H", value)
    elif isinstance(value, str):
        value = value.encode() + b"\0" * (len(value) % 2)
    return struct.pack("<HHI", 0, number, len(value)) + value


def command(elements):
    """A command set with its group length, PS3.7 section 6.3."""
    body = b"".join(element(number, value) for number, value in sorted(elements.items()))
    return element(0, struct.pack("<I", len(body))) + body


def elements_of(raw):
    """{number: bytes} of a command set."""
    found, at = {}, 0
    while at < len(raw):
        _, number, n_bytes = struct.unpack_from("<HHI", raw, at)
        found[number] = raw[at + 8:at + 8 + n_bytes]
        at += 8 + n_bytes
    return found


class Wire:
    """PDUs over a socket."""

    def __init__(self, stream):
        self.socket = stream
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peer_max_bytes = MAX_PDU_BYTES

    def read(self, n_bytes):
        """Exactly so many bytes."""
        parts = bytearray()
        while len(parts) < n_bytes:
            part = self.socket.recv(n_bytes - len(parts))
            if not part:
                raise Gone("the peer hung up")
            parts += part
        return bytes(parts)

    def read_pdu(self):
        """Kind and body."""
        kind, n_bytes = struct.unpack(">BxI", self.read(6))
        body = self.read(n_bytes)
        if kind == ABORT:
            raise Gone(f"the peer aborted: source {body[2]}, reason {body[3]}")
        return kind, body

    def fragments(self, context, is_command, data):
        """The P-DATA-TF PDUs of one command or dataset."""
        room = (self.peer_max_bytes or MAX_PDU_BYTES) - 6
        made = []
        for at in range(0, max(len(data), 1), room):
            part = data[at:at + room]
            flags = (1 if is_command else 0) | (2 if at + room >= len(data) else 0)
            made.append(pdu(DATA, struct.pack(">IBB", len(part) + 2, context, flags) + part))
        return made

    def read_message(self):
        """Context, elements of the command, dataset (b'' when none). None: release was asked for."""
        parts = {True: bytearray(), False: bytearray()}
        elements = None
        while True:
            kind, body = self.read_pdu()
            if kind == RELEASE_RQ:
                self.socket.sendall(pdu(RELEASE_RP, bytes(4)))
                return None
            if kind != DATA:
                raise Gone(f"a PDU of kind {kind} within a message")
            at = 0
            while at < len(body):
                n_bytes, context, flags = struct.unpack_from(">IBB", body, at)
                parts[bool(flags & 1)] += body[at + 6:at + 4 + n_bytes]
                at += 4 + n_bytes
                if flags == 3:
                    elements = elements_of(bytes(parts[True]))
                has_data = elements is not None and elements[0x0800] != b"\x01\x01"
                if elements is not None and (not has_data or flags & 3 == 2):
                    return context, elements, bytes(parts[False])


class Association(Wire):
    """A sender's. `contexts` is a list of (SOP class, [transfer syntaxes])."""

    def __init__(self, port, contexts, calling="SENDER", called="MEDAID", timeout_s=60, tls=None):
        stream = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        try:
            super().__init__(tls.wrap_socket(stream) if tls is not None else stream)
            self.message, self.accepted = 0, {}
            self.contexts = {2 * i + 1: context for i, context in enumerate(contexts)}
            self.socket.sendall(self.request(calling, called))
            kind, body = self.read_pdu()
            if kind == RJ:
                raise Refused(f"rejected: result {body[1]}, source {body[2]}, reason {body[3]}")
            self.take_answer(kind, body)
        except BaseException:
            stream.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.release()
        self.close()

    def request(self, calling, called):
        """A-ASSOCIATE-RQ, PS3.8 section 9.3.2."""
        items = item(0x10, CONTEXT.encode())
        for number, (abstract, syntaxes) in self.contexts.items():
            items += item(0x20, struct.pack(">Bxxx", number) + item(0x30, abstract.encode()) +
                          b"".join(item(0x40, s.encode()) for s in syntaxes))
        return pdu(RQ, struct.pack(">Hxx16s16s32x", 1, called.ljust(16).encode(),
                                   calling.ljust(16).encode()) + items + user_information())

    def take_answer(self, kind, body):
        """A-ASSOCIATE-AC: which contexts, and how long PDUs may be."""
        if kind != AC:
            raise Gone(f"a PDU of kind {kind} for an answer")
        for what, value in items_in(body[68:]):
            if what == 0x21 and value[2] == 0:
                self.accepted[value[0]] = text_of(value[8:])
            elif what == 0x50 and value[:1] == b"\x51":
                (self.peer_max_bytes,) = struct.unpack_from(">I", value, 4)

    def context_for(self, abstract, syntax=None):
        """The number of an accepted context."""
        for number, accepted in self.accepted.items():
            if self.contexts[number][0] == abstract and syntax in (None, accepted):
                return number
        raise Refused(f"no context for {abstract} in {syntax}")

    def store_pdus(self, obj, **changes):
        """The PDUs of a C-STORE; `changes` make it lie: sop_class, sop_instance, data."""
        context = self.context_for(obj.sop_class, obj.syntax)
        self.message = self.message % 65535 + 1
        elements = {0x0002: changes.get("sop_class", obj.sop_class), 0x0100: STORE,
                    0x0110: self.message, 0x0700: 0, 0x0800: 0,
                    0x1000: changes.get("sop_instance", obj.sop_instance)}
        return (self.fragments(context, True, command(elements)) +
                self.fragments(context, False, changes.get("data", obj.data)))

    def store(self, obj, **changes):
        """C-STORE; the status of the response."""
        for part in self.store_pdus(obj, **changes):
            self.socket.sendall(part)
        return self.read_status(STORE_RESPONSE)

    def echo(self):
        """C-ECHO; the status of the response."""
        self.message = self.message % 65535 + 1
        elements = {0x0002: VERIFICATION, 0x0100: ECHO, 0x0110: self.message, 0x0800: 0x0101}
        for part in self.fragments(self.context_for(VERIFICATION), True, command(elements)):
            self.socket.sendall(part)
        return self.read_status(ECHO_RESPONSE)

    def read_status(self, expected):
        """Of the next message, which must be the response to the last request."""
        message = self.read_message()
        if message is None:
            raise Gone("the peer asked for release")
        _, elements, _ = message
        number, answers = (struct.unpack("<H", elements[n])[0] for n in (0x0100, 0x0120))
        if (number, answers) != (expected, self.message):
            raise Gone(f"response {number:04x} to message {answers}, not to {self.message}")
        return struct.unpack("<H", elements[0x0900])[0]

    def release(self):
        """A-RELEASE and its answer."""
        self.socket.sendall(pdu(RELEASE_RQ, bytes(4)))
        kind, _ = self.read_pdu()
        if kind != RELEASE_RP:
            raise Gone(f"a PDU of kind {kind} for a release")

    def close(self):
        """The socket."""
        self.socket.close()


def contexts_of(*objects):
    """What to propose for these objects."""
    return [(c, [s]) for c, s in sorted({(o.sop_class, o.syntax) for o in objects})]


def store_all(port, objects, **options):
    """C-STORE of all in one association; the statuses."""
    with Association(port, contexts_of(*objects), **options) as association:
        return [association.store(each) for each in objects]


# The shortest head of a file in explicit little endian, which Receiver alone accepts.
_SYNTAX = struct.pack("<HH2sH", 2, 0x10, b"UI", 20) + EXPLICIT.encode() + b"\0"
EXPLICIT_HEAD = (bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(_SYNTAX)) +
                   _SYNTAX)


class Receiver(socketserver.ThreadingTCPServer):
    """A PACS that does as `answer(sop_class, sop_instance)` says: a status, or None to hang up. What
    was answered with 0 is in `stored`, in order, as (class, instance, dataset)."""

    daemon_threads, allow_reuse_address, request_queue_size = True, True, 64

    def __init__(self, answer=lambda sop_class, sop_instance: 0):
        super().__init__(("127.0.0.1", 0), ReceiverThread)
        self.answer, self.stored, self.n_asked = answer, [], 0
        self.lock = threading.Lock()
        self.serve_in_thread()

    def serve_in_thread(self):
        """Accept associations until close()."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05},
                         daemon=True).start()

    def destination(self, name="fake", **more):
        """An entry of medaid's `destinations`."""
        return {"name": name, "ae_title": "FAKE", "host": "127.0.0.1",
                "port": self.server_address[1], **more}

    def handle_error(self, request, client_address):
        """A thread that fails has hung up, which is what the peer then sees."""

    def take(self, sop_class, sop_instance, data):
        """The status of one object."""
        with self.lock:
            self.n_asked += 1
        status = self.answer(sop_class, sop_instance)
        if status == 0:
            with self.lock:
                self.stored.append((sop_class, sop_instance, data))
        return status

    def datasets(self):
        """What it has, read."""
        with self.lock:
            stored = list(self.stored)
        return [pydicom.dcmread(pydicom.filebase.DicomBytesIO(EXPLICIT_HEAD + data))
                for _, _, data in stored]

    def close(self):
        """End it and free the port."""
        self.shutdown()
        self.server_close()

    def reopen(self):
        """After close(): on the same port again, with what it has."""
        self.socket = socket.socket(self.address_family, self.socket_type)
        self.server_bind()
        self.server_activate()
        self.serve_in_thread()


class ReceiverThread(socketserver.BaseRequestHandler):
    """One association of a Receiver."""

    def handle(self):
        with contextlib.suppress(OSError):
            self.serve(Wire(self.request))

    def accept(self, wire):
        """A-ASSOCIATE-AC for every context that has explicit little endian."""
        _, body = wire.read_pdu()
        items = item(0x10, CONTEXT.encode())
        for what, value in items_in(body[68:]):
            if what == 0x20:
                offered = [text_of(v) for kind, v in items_in(value[4:]) if kind == 0x40]
                items += item(0x21, struct.pack(">BxBx", value[0],
                                                0 if EXPLICIT in offered else 4) +
                              item(0x40, EXPLICIT.encode()))
        wire.socket.sendall(pdu(AC, body[:68] + items + user_information()))

    def serve(self, wire):
        """Until it is released."""
        self.accept(wire)
        while True:
            message = wire.read_message()
            if message is None:
                return
            context, elements, data = message
            (number,) = struct.unpack("<H", elements[0x0100])
            status, answer = 0, {0x0100: number | 0x8000, 0x0120: elements[0x0110], 0x0800: 0x0101,
                                 0x0002: elements[0x0002]}
            if number == STORE:
                status = self.server.take(text_of(elements[0x0002]), text_of(elements[0x1000]), data)
                answer[0x1000] = elements[0x1000]
            if status is None:
                return
            answer[0x0900] = status
            for part in wire.fragments(context, True, command(answer)):
                wire.socket.sendall(part)
