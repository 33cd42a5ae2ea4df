/* The path of one chunk that is nothing but text, from the read of the upstream's socket to the write to the reader's.
 *
 * Python code does everything, and is the reference. This module does again what that code does for the chunk that
 * nearly every chunk is, in few instructions: a paced chunk finds cold caches, and waits for memory, not for the processor
 * (docs/decisions/0038). A step that is not certain to be plain is left to the Python code, with nothing changed.
 *
 * Receiver   stands between an upstream's transport and its HttpProtocol, and knows where an HTTP chunk begins
 * ShortPath  takes one event: the attempt's deadline, the transcript, the records of the stream
 * begin, part, commit  are what a commit does with each stream that has moved
 * Mover      writes what a stream has just shown to one reader
 *
 * They keep their state in the __slots__ of the Python objects, so either side can take the next chunk.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>
#include <structmember.h>

#define RECENT 24 /* pieces whose lengths are remembered, and after how many chunks the others are forgotten: as */
#define TRIM 32   /* `everytoken.recovery.transcript` has it */
#define MOST_TEXT 2048 /* bytes of one piece of text; a model writes a few at a time */
#define MOST_SHOWN 4096 /* bytes of several records that a reader surely gets as they came: `_NEWEST` is more */
#define MOST_HELD 16384 /* bytes of a chunk whose rest has not come */
#define MOST_SKIPPED 256 /* records between two looks at what stands around the text, where it differs each time */

/* ---- The slots of Python classes ---- */

#define MOST_SLOTS 16

typedef struct {
    const char *names[MOST_SLOTS + 1];
    PyTypeObject *type;
    Py_ssize_t at[MOST_SLOTS];
} Layout;

enum { RELAY_RECEIVED, RELAY_LOOK_AT };
static Layout relay_layout = {{"received", "look_at"}};
enum { SINK_RELAY, SINK_LIVE, SINK_NOTE, SINK_NUMBER };
static Layout sink_layout = {{"relay", "_live", "_note", "number"}};
enum { LIVE_STEADY, LIVE_GAP, LIVE_DEADLINE, LIVE_LAST_BYTES, LIVE_QUIET, LIVE_CONTENT, LIVE_HOLDING, LIVE_SSE,
       LIVE_TRANSCRIPT, LIVE_DECODER };
static Layout live_layout = {{"steady", "gap", "deadline", "last_bytes", "quiet", "content", "_holding", "_sse",
                              "_transcript", "decoder"}};
enum { SSE_SPECIAL, SSE_FRESH, SSE_LINE };
static Layout sse_layout = {{"_special", "_fresh", "_line"}};
enum { TRANSCRIPT_MAIN, TRANSCRIPT_RECENT, TRANSCRIPT_CHUNKS, TRANSCRIPT_RECORDS };
static Layout transcript_layout = {{"_main", "_recent", "chunks", "records"}};
enum { WRITER_EPOCH, WRITER_LOG, WRITER_JOURNAL };
static Layout writer_layout = {{"_epoch", "log", "_journal"}};
enum { STREAM_INFO, STREAM_RECORDS, STREAM_TAIL, STREAM_NEWEST, STREAM_MOVED, STREAM_LOST, STREAM_IMMEDIATE,
       STREAM_DIRTY, STREAM_CLOSING, STREAM_CLOSED, STREAM_BASE, STREAM_PENDING, STREAM_PENDING_BYTES, STREAM_STORING,
       STREAM_SPECIAL, STREAM_STORING_SPECIAL };
static Layout stream_layout = {{"info", "records", "tail", "_newest", "_moved", "lost", "immediate", "dirty", "closing",
                                "closed", "base", "pending", "pending_bytes", "storing", "_special",
                                "_storing_special"}};
enum { PACKED_RUN, PACKED_BLOB, PACKED_ENDS, PACKED_RUNS };
static Layout packed_layout = {{"_run", "_blob", "_ends", "_runs"}};
enum { FOLLOWER_LIVE, FOLLOWER_CLIENT, FOLLOWER_LOG, FOLLOWER_OFFSET, FOLLOWER_QUIET_SINCE, FOLLOWER_NOW,
       FOLLOWER_FAILURE };
static Layout follower_layout = {{"_live", "_client", "_log", "offset", "_quiet_since", "_now", "_failure"}};
enum { CLIENT_GONE };
static Layout client_layout = {{"gone"}};
enum { DIRECT_FLOW, DIRECT_WRITE };
static Layout direct_layout = {{"flow", "write_raw"}};
enum { PROTOCOL_EXCHANGE, PROTOCOL_SHORT, PROTOCOL_TRANSPORT };
static Layout protocol_layout = {{"_exchange", "short", "_transport"}};
enum { EXCHANGE_ON_BODY };
static Layout exchange_layout = {{"on_body"}};

#define SLOT(object, layout, which) (*(PyObject **)((char *)(object) + (layout).at[which]))

/* Find the slots of `type`. Raises TypeError where one is missing. */
static int find_slots(PyTypeObject *type, const Layout *layout, Py_ssize_t *at)
{
    for (int i = 0; layout->names[i] != NULL; i++) {
        PyObject *slot = PyObject_GetAttrString((PyObject *)type, layout->names[i]);
        if (slot == NULL)
            return -1;
        int is_slot = Py_IS_TYPE(slot, &PyMemberDescr_Type) &&
                      ((PyMemberDescrObject *)slot)->d_member->type == T_OBJECT_EX;
        if (is_slot)
            at[i] = ((PyMemberDescrObject *)slot)->d_member->offset;
        Py_DECREF(slot);
        if (!is_slot) {
            PyErr_Format(PyExc_TypeError, "%s.%s is no slot", type->tp_name, layout->names[i]);
            return -1;
        }
    }
    return 0;
}

/* Return whether `object` has the slots of `layout`, all of them set; -1 with an exception if it never has them. */
static int fits(PyObject *object, Layout *layout)
{
    PyTypeObject *type = Py_TYPE(object);
    if (type != layout->type) {
        Py_ssize_t at[MOST_SLOTS];
        if (find_slots(type, layout, at) < 0)
            return -1;
        if (layout->type == NULL) {
            Py_INCREF(type);
            layout->type = type;
            memcpy(layout->at, at, sizeof at);
        }
        else {
            for (int i = 0; layout->names[i] != NULL; i++)
                if (at[i] != layout->at[i])
                    return 0;
        }
    }
    for (int i = 0; layout->names[i] != NULL; i++)
        if (SLOT(object, *layout, i) == NULL)
            return 0;
    return 1;
}

/* Return whether `object` is certain to have the slots: for what may be another object each time. */
static int is_known(PyObject *object, Layout *layout)
{
    if (Py_TYPE(object) == layout->type)
        return 1;
    int known = fits(object, layout);
    if (known < 0)
        PyErr_Clear();
    return known > 0;
}

/* Put a new reference into a slot. */
#define PUT(object, layout, which, value)             \
    do {                                              \
        PyObject **slot_ = &SLOT(object, layout, which); \
        PyObject *old_ = *slot_;                      \
        *slot_ = (value);                             \
        Py_XDECREF(old_);                             \
    } while (0)

/* Return a count, or -1 where there is none. */
static long long count_of(PyObject *value)
{
    if (value == NULL || !PyLong_CheckExact(value))
        return -1;
    int overflow;
    return PyLong_AsLongLongAndOverflow(value, &overflow); /* -1 if it is too large */
}

static PyObject *s_append, *s_epoch, *s_extend, *s_truncate, *s_wake, *s_write_paused, *s_write, *s_settle, *s_recovery,
    *s_tell, *s_around, *s_reader_failed, *s_internal_error, *s_data_received, *s_moved, *s_begin, *s_commit,
    *s_part, *s_is_closing;

/* Return the exception that has been raised, and raise it no more. */
static PyObject *taken_exception(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

static int append_to(PyObject *bytearray, const char *data, Py_ssize_t size)
{
    Py_ssize_t length = PyByteArray_GET_SIZE(bytearray);
    if (PyByteArray_Resize(bytearray, length + size) < 0)
        return -1;
    memcpy(PyByteArray_AS_STRING(bytearray) + length, data, (size_t)size);
    return 0;
}

static int call_with(PyObject *object, PyObject *method, PyObject *argument)
{
    PyObject *result = PyObject_CallMethodOneArg(object, method, argument);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* ---- Mover: everytoken.gateway.follow.Follower.moved ---- */

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    PyObject *follower;
    int ids;   /* whether events have an `id:` line */
    int named; /* whether they are those of Messages, each with the name of a piece of text */
} Mover;

static const char delta_name[] = "event: content_block_delta\n";

/* Whether a record of Messages is a piece of a block: everytoken.formats.anthropic._DELTAS. */
static int is_delta(const char *record, size_t size)
{
    static const char narrow[] = "{\"type\":\"content_block_delta\"", wide[] = "{\"type\": \"content_block_delta\"";
    return (size >= sizeof narrow - 1 && memcmp(record, narrow, sizeof narrow - 1) == 0) ||
           (size >= sizeof wide - 1 && memcmp(record, wide, sizeof wide - 1) == 0);
}

/* Return the records from `offset` on as one HTTP chunk of events; NULL without an exception if one is for Python. */
static PyObject *events_of(PyObject *records, long long offset, int ids, int named)
{
    Py_ssize_t count = PyList_GET_SIZE(records), size = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *record = PyList_GET_ITEM(records, i);
        if (!PyBytes_CheckExact(record))
            return NULL;
        const char *data = PyBytes_AS_STRING(record);
        size_t length = (size_t)PyBytes_GET_SIZE(record);
        if (memchr(data, '\n', length) != NULL || memchr(data, '\r', length) != NULL ||
            (named && !is_delta(data, length)))
            return NULL;
        /* "data: " + record + "\nid: " + 16 digits + "\n\n", or "data: " + record + "\n\n" */
        size += (Py_ssize_t)length + (ids ? 29 : 8) + (named ? (Py_ssize_t)sizeof delta_name - 1 : 0);
    }
    char head[24];
    int head_size = snprintf(head, sizeof head, "%zx\r\n", (size_t)size);
    PyObject *chunk = PyBytes_FromStringAndSize(NULL, head_size + size + 2);
    if (chunk == NULL)
        return NULL;
    char *to = PyBytes_AS_STRING(chunk);
    memcpy(to, head, (size_t)head_size);
    to += head_size;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *record = PyList_GET_ITEM(records, i);
        size_t length = (size_t)PyBytes_GET_SIZE(record);
        if (named) {
            memcpy(to, delta_name, sizeof delta_name - 1);
            to += sizeof delta_name - 1;
        }
        memcpy(to, "data: ", 6);
        memcpy(to + 6, PyBytes_AS_STRING(record), length);
        to += 6 + length;
        if (ids) {
            memcpy(to, "\nid: ", 5);
            long long number = offset + i + 1;
            for (int digit = 15; digit >= 0; digit--, number /= 10)
                to[5 + digit] = (char)('0' + number % 10);
            to += 21;
        }
        memcpy(to, "\n\n", 2);
        to += 2;
    }
    memcpy(to, "\r\n", 2);
    return chunk;
}

/* Do as `Follower.moved` does; `now` may be NULL. Returns -1 with an exception. */
static int move(Mover *self, PyObject *now)
{
    PyObject *follower = self->follower;
    PyObject *live = SLOT(follower, follower_layout, FOLLOWER_LIVE);
    if (live == NULL || live == Py_None || !is_known(live, &direct_layout))
        goto python;
    PyObject *client = SLOT(follower, follower_layout, FOLLOWER_CLIENT);
    if (SLOT(client, client_layout, CLIENT_GONE) != Py_False)
        goto python;
    PyObject *paused = PyObject_GetAttr(SLOT(live, direct_layout, DIRECT_FLOW), s_write_paused);
    if (paused == NULL)
        PyErr_Clear();
    Py_XDECREF(paused); /* True and False live for ever */
    if (paused != Py_False)
        goto python;
    PyObject *log = SLOT(follower, follower_layout, FOLLOWER_LOG);
    PyObject *newest = SLOT(log, stream_layout, STREAM_NEWEST);
    long long tail = count_of(SLOT(log, stream_layout, STREAM_TAIL));
    long long offset = count_of(SLOT(follower, follower_layout, FOLLOWER_OFFSET));
    if (newest == NULL || !PyList_CheckExact(newest) || PyList_GET_SIZE(newest) == 0 || tail < 0 || offset < 0 ||
        tail >= 9999999999999999 || tail - offset != PyList_GET_SIZE(newest) ||
        SLOT(log, stream_layout, STREAM_LOST) != Py_None)
        goto python;
    PyObject *chunk = events_of(newest, offset, self->ids, self->named);
    if (chunk == NULL) {
        if (PyErr_Occurred())
            return -1;
        goto python;
    }
    PyObject *reached = SLOT(log, stream_layout, STREAM_TAIL);
    Py_INCREF(reached);
    PUT(follower, follower_layout, FOLLOWER_OFFSET, reached);
    PyObject *write = SLOT(live, direct_layout, DIRECT_WRITE);
    Py_INCREF(write);
    PyObject *written = PyObject_CallOneArg(write, chunk);
    Py_DECREF(write);
    Py_DECREF(chunk);
    if (written != NULL) {
        Py_DECREF(written);
        if (now != NULL)
            Py_INCREF(now);
        else
            now = PyObject_CallNoArgs(SLOT(follower, follower_layout, FOLLOWER_NOW));
        if (now != NULL) {
            PUT(follower, follower_layout, FOLLOWER_QUIET_SINCE, now);
            if (SLOT(log, stream_layout, STREAM_TAIL) == reached &&
                SLOT(log, stream_layout, STREAM_CLOSED) == Py_False)
                return 0;
        }
    }
    if (PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_Exception))
            return -1;
        /* It is the task's to raise: the journal must not see it. */
        PUT(follower, follower_layout, FOLLOWER_FAILURE, taken_exception());
        Py_INCREF(Py_None);
        PUT(follower, follower_layout, FOLLOWER_LIVE, Py_None);
    }
    PyObject *woken = PyObject_CallMethodNoArgs(client, s_wake);
    Py_XDECREF(woken);
    return woken == NULL ? -1 : 0;

python:;
    PyObject *moved = PyObject_CallMethodNoArgs(follower, s_moved);
    Py_XDECREF(moved);
    return moved == NULL ? -1 : 0;
}

static PyObject *mover_call(PyObject *self, PyObject *const *args, size_t count, PyObject *names)
{
    (void)args;
    if (PyVectorcall_NARGS(count) != 0 || names != NULL) {
        PyErr_SetString(PyExc_TypeError, "a mover takes no arguments");
        return NULL;
    }
    if (move((Mover *)self, NULL) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static int mover_traverse(Mover *self, visitproc visit, void *arg)
{
    Py_VISIT(self->follower);
    return 0;
}

static void mover_dealloc(Mover *self)
{
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->follower);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* No tp_clear: `move` needs the follower. The garbage collector breaks a cycle at the follower's __slots__. */
static PyTypeObject MoverType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "everytoken.native.Mover",
    .tp_basicsize = sizeof(Mover),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_vectorcall_offset = offsetof(Mover, call),
    .tp_call = PyVectorcall_Call,
    .tp_traverse = (traverseproc)mover_traverse,
    .tp_dealloc = (destructor)mover_dealloc,
};

/* mover(follower, ids, named): what to call when the follower's log has moved. */
static PyObject *native_mover(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *follower;
    int ids, named;
    if (!PyArg_ParseTuple(args, "Opp:mover", &follower, &ids, &named))
        return NULL;
    int known = fits(follower, &follower_layout);
    if (known > 0)
        known = fits(SLOT(follower, follower_layout, FOLLOWER_CLIENT), &client_layout);
    if (known < 0)
        return NULL;
    if (known == 0 || !is_known(SLOT(follower, follower_layout, FOLLOWER_LOG), &stream_layout))
        Py_RETURN_NONE; /* a journal may have logs of its own */
    Mover *self = PyObject_GC_New(Mover, &MoverType);
    if (self == NULL)
        return NULL;
    self->call = mover_call;
    Py_INCREF(follower);
    self->follower = follower;
    self->ids = ids;
    self->named = named;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

/* ---- ShortPath: everytoken.relay.sink.AttemptSink.on_data and what it calls ---- */

typedef struct {
    PyObject_HEAD
    PyObject *relay, *live, *transcript, *sse, *decoder, *writer, *stream, *number, *settle;
    PyObject *note;          /* NULL if nobody wants to know of gaps */
    PyObject *before, *after; /* bytes of an event that stand around its text; NULL while unknown */
    PyObject *between;       /* bytes between the text and padding that is different each time; NULL without that */
    Py_ssize_t head;         /* how many of them stand before its record: "data: ", perhaps behind its name */
    PyObject *learned;       /* the piece of a body that was learned from, until the Receiver has seen it */
    Py_ssize_t longest;      /* bytes of text that the transcript may have */
    Py_ssize_t full;         /* bytes that may wait to be stored before the upstream is paused */
    int useless, skipped;    /* how often nothing could be taken after learning; records not learned from since */
} ShortPath;

/* Return where the text of an event begins, and set its size; NULL if the event is not like the one learned from. */
static const char *text_in(const ShortPath *self, const char *event, Py_ssize_t size, Py_ssize_t *text_size)
{
    if (self->before == NULL)
        return NULL;
    Py_ssize_t before = PyBytes_GET_SIZE(self->before), after = PyBytes_GET_SIZE(self->after);
    const char *text = event + before, *end = event + size - after;
    if (end - text < 1 || memcmp(event, PyBytes_AS_STRING(self->before), (size_t)before) != 0 ||
        memcmp(end, PyBytes_AS_STRING(self->after), (size_t)after) != 0)
        return NULL;
    if (self->between != NULL) {
        const char *behind = text; /* the text ends with the first quotation mark that no backslash stands before */
        while (behind < end && *behind != '"')
            behind += *behind == '\\' ? 2 : 1;
        const char *padding = behind + PyBytes_GET_SIZE(self->between);
        if (behind >= end || padding > end ||
            memcmp(behind, PyBytes_AS_STRING(self->between), (size_t)(padding - behind)) != 0)
            return NULL;
        for (; padding < end; padding++)
            if (*padding < 0x20 || *padding > 0x7e || *padding == '"' || *padding == '\\')
                return NULL;
        end = behind;
    }
    *text_size = end - text;
    return *text_size < 1 || *text_size > MOST_TEXT ? NULL : text;
}

/* Decode the inside of a JSON string to UTF-8 into `to`; return how many characters it has, and set the size.
 *
 * Returns 0 for what is not a JSON string's inside, and for what is left to Python: \u, and bytes that are not UTF-8. */
static Py_ssize_t decode_text(const char *text, Py_ssize_t *size, char *to)
{
    const char *end = text + *size;
    char *begin = to;
    unsigned char all = 0;
    while (text < end) {
        unsigned char c = (unsigned char)*text++;
        if (c == '\\') {
            if (text == end)
                return 0;
            switch (*text++) {
            case '"': c = '"'; break;
            case '\\': c = '\\'; break;
            case '/': c = '/'; break;
            case 'b': c = '\b'; break;
            case 'f': c = '\f'; break;
            case 'n': c = '\n'; break;
            case 'r': c = '\r'; break;
            case 't': c = '\t'; break;
            default: return 0;
            }
        }
        else if (c < 0x20 || c == '"')
            return 0;
        all |= c;
        *to++ = (char)c;
    }
    *size = to - begin;
    if (all < 0x80)
        return *size;
    PyObject *decoded = PyUnicode_DecodeUTF8(begin, *size, "strict");
    if (decoded == NULL) {
        PyErr_Clear();
        return 0;
    }
    Py_ssize_t characters = PyUnicode_GET_LENGTH(decoded);
    Py_DECREF(decoded);
    return characters;
}

/* Have Python look for what a record has in common with others. Returns -1 with an exception. */
static int extend(PyObject *packed, PyObject *record)
{
    PyObject *records = PyTuple_Pack(1, record);
    int extended = records == NULL ? -1 : call_with(packed, s_extend, records);
    Py_XDECREF(records);
    return extended;
}

/* As `PackedRecords.extend` with one record. Returns -1 with an exception. */
static int pack(PyObject *packed, PyObject *record)
{
    PyObject *run = SLOT(packed, packed_layout, PACKED_RUN), *blob = SLOT(packed, packed_layout, PACKED_BLOB);
    const char *data = PyBytes_AS_STRING(record);
    Py_ssize_t size = PyBytes_GET_SIZE(record);
    PyObject *begin = PyTuple_GET_ITEM(run, 0), *end = PyTuple_GET_ITEM(run, 1);
    Py_ssize_t before = PyBytes_GET_SIZE(begin), after = PyBytes_GET_SIZE(end);
    long long least = count_of(PyTuple_GET_ITEM(run, 2));
    if (least < 0 || size < least || memcmp(data, PyBytes_AS_STRING(begin), (size_t)before) != 0 ||
        memcmp(data + size - after, PyBytes_AS_STRING(end), (size_t)after) != 0)
        return extend(packed, record);
    if (append_to(blob, data + before, size - before - after) < 0)
        return -1;
    PyObject *there = PyLong_FromSsize_t(PyByteArray_GET_SIZE(blob));
    if (there == NULL)
        return -1;
    int added = call_with(SLOT(packed, packed_layout, PACKED_ENDS), s_append, there);
    Py_DECREF(there);
    return added;
}

/* Tell the readers of a stream that it has more; `now` may be NULL. Returns -1 with an exception. */
static int tell_readers(PyObject *stream, PyObject *now)
{
    PyObject *readers = SLOT(stream, stream_layout, STREAM_MOVED);
    Py_INCREF(readers); /* a reader may leave while all are told */
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(readers); i++) {
        PyObject *reader = PyTuple_GET_ITEM(readers, i);
        int told;
        if (Py_IS_TYPE(reader, &MoverType))
            told = move((Mover *)reader, now);
        else {
            PyObject *result = PyObject_CallNoArgs(reader);
            Py_XDECREF(result);
            told = result == NULL ? -1 : 0;
        }
        if (told < 0 && PyErr_ExceptionMatches(PyExc_Exception)) {
            PyObject *error = taken_exception();
            told = call_with(stream, s_reader_failed, error);
            Py_DECREF(error);
        }
        if (told < 0) {
            Py_DECREF(readers);
            return -1;
        }
    }
    Py_DECREF(readers);
    return 0;
}

/* Leave a record to the next commit. Returns as `append`. */
static int wait(ShortPath *self, PyObject *record)
{
    PyObject *stream = self->stream, *pending = SLOT(stream, stream_layout, STREAM_PENDING);
    if (!PyList_CheckExact(pending))
        return 0;
    if (SLOT(stream, stream_layout, STREAM_DIRTY) == Py_False) {
        if (PyList_Append(pending, record) < 0 ||
            call_with(SLOT(self->writer, writer_layout, WRITER_JOURNAL), s_moved, stream) < 0)
            return -1;
        return 1;
    }
    long long bytes = count_of(SLOT(stream, stream_layout, STREAM_PENDING_BYTES));
    if (bytes < 0 || bytes + PyBytes_GET_SIZE(record) > self->full)
        return 0;
    PyObject *more = PyLong_FromLongLong(bytes + PyBytes_GET_SIZE(record));
    if (more == NULL || PyList_Append(pending, record) < 0) {
        Py_XDECREF(more);
        return -1;
    }
    PUT(stream, stream_layout, STREAM_PENDING_BYTES, more);
    return 1;
}

/* As `StreamWriter.append`. Returns 1; 0, with nothing changed, if that is for Python; -1 with an exception. */
static int append(ShortPath *self, PyObject *record, PyObject *records, PyObject *now)
{
    PyObject *stream = self->stream;
    if (SLOT(stream, stream_layout, STREAM_CLOSING) != Py_False ||
        SLOT(stream, stream_layout, STREAM_LOST) != Py_None)
        return 0;
    PyObject *epoch = PyObject_GetAttr(SLOT(stream, stream_layout, STREAM_INFO), s_epoch);
    if (epoch == NULL)
        return -1;
    int same = PyObject_RichCompareBool(epoch, SLOT(self->writer, writer_layout, WRITER_EPOCH), Py_EQ);
    Py_DECREF(epoch);
    if (same <= 0)
        return same;
    if (SLOT(stream, stream_layout, STREAM_IMMEDIATE) != Py_True ||
        SLOT(stream, stream_layout, STREAM_DIRTY) != Py_False)
        return wait(self, record);
    PyObject *packed = SLOT(stream, stream_layout, STREAM_RECORDS);
    long long tail = count_of(SLOT(stream, stream_layout, STREAM_TAIL));
    long long base = count_of(SLOT(stream, stream_layout, STREAM_BASE));
    if (tail < 0 || base < 0 || !is_known(packed, &packed_layout))
        return 0;
    PyObject *reached = PyLong_FromLongLong(tail + 1), *length = PyLong_FromLongLong(tail - base);
    if (reached == NULL || length == NULL) {
        Py_XDECREF(reached);
        Py_XDECREF(length);
        return -1;
    }
    if (pack(packed, record) < 0) {
        Py_DECREF(reached);
        int undone = -1;
        if (PyErr_ExceptionMatches(PyExc_Exception)) {
            PyErr_Clear();
            undone = call_with(packed, s_truncate, length);
        }
        Py_DECREF(length);
        return undone; /* 0: Python tries it again, and knows what to do if it fails */
    }
    Py_DECREF(length);
    PUT(stream, stream_layout, STREAM_TAIL, reached);
    Py_INCREF(records);
    PUT(stream, stream_layout, STREAM_NEWEST, records);
    return tell_readers(stream, now) < 0 ? -1 : 1;
}

/* Remember how long the piece of the n-th chunk is. As `Transcript.add_text`. */
static int note_length(PyObject *recent, PyObject *length, long long chunk)
{
    if (call_with(recent, s_append, length) < 0)
        return -1;
    if (chunk % TRIM != 0)
        return 0;
    Py_ssize_t kept = PyObject_Size(recent);
    return kept < 0 || (kept > RECENT && PySequence_DelSlice(recent, 0, kept - RECENT) < 0) ? -1 : 0;
}

/* Take one event: its head, a record, "\n\n". Returns 1; 0, with nothing changed, if it is not plain; -1 with an
 * exception. */
static int take(ShortPath *self, const char *event, Py_ssize_t size, PyObject *now)
{
    PyObject *live = self->live, *transcript = self->transcript, *relay = self->relay;
    if (SLOT(live, live_layout, LIVE_STEADY) != Py_True)
        return 0;
    Py_ssize_t text_size;
    const char *text = text_in(self, event, size, &text_size);
    if (text == NULL)
        return 0;
    char decoded[MOST_TEXT];
    Py_ssize_t characters = decode_text(text, &text_size, decoded);
    if (characters == 0)
        return 0;
    long long received = count_of(SLOT(relay, relay_layout, RELAY_RECEIVED));
    long long look_at = count_of(SLOT(relay, relay_layout, RELAY_LOOK_AT));
    long long chunks = count_of(SLOT(transcript, transcript_layout, TRANSCRIPT_CHUNKS));
    long long delivered = count_of(SLOT(transcript, transcript_layout, TRANSCRIPT_RECORDS));
    PyObject *main = SLOT(transcript, transcript_layout, TRANSCRIPT_MAIN);
    PyObject *gap = SLOT(live, live_layout, LIVE_GAP);
    if (received < 0 || look_at < 0 || received + size > look_at || chunks < 0 || delivered < 1 ||
        !PyByteArray_CheckExact(main) || PyByteArray_GET_SIZE(main) + text_size > self->longest ||
        !PyNumber_Check(gap))
        return 0;

    /* All that can fail for want of memory comes first. */
    int result = -1;
    PyObject *records = NULL, *added = NULL, *deadline = NULL, *more_chunks = NULL, *more_delivered = NULL;
    PyObject *record = PyBytes_FromStringAndSize(event + self->head, size - self->head - 2);
    if (record == NULL || (records = PyList_New(1)) == NULL)
        goto out;
    Py_INCREF(record);
    PyList_SET_ITEM(records, 0, record);
    if ((added = PyLong_FromSsize_t(characters)) == NULL || (deadline = PyNumber_Add(now, gap)) == NULL ||
        (more_chunks = PyLong_FromLongLong(chunks + 1)) == NULL ||
        (more_delivered = PyLong_FromLongLong(delivered + 1)) == NULL || append_to(main, decoded, text_size) < 0 ||
        note_length(SLOT(transcript, transcript_layout, TRANSCRIPT_RECENT), added, chunks + 1) < 0)
        goto out;
    PUT(transcript, transcript_layout, TRANSCRIPT_CHUNKS, more_chunks);
    PUT(transcript, transcript_layout, TRANSCRIPT_RECORDS, more_delivered);
    PUT(live, live_layout, LIVE_DEADLINE, deadline);
    more_chunks = more_delivered = deadline = NULL;
    Py_INCREF(now);
    PUT(live, live_layout, LIVE_LAST_BYTES, now);
    PUT(live, live_layout, LIVE_QUIET, PyLong_FromLong(0)); /* small numbers live for ever */
    Py_INCREF(Py_True);
    PUT(live, live_layout, LIVE_CONTENT, Py_True);
    self->useless = 0;

    if (self->note != NULL) {
        PyObject *noted = PyObject_CallOneArg(self->note, now);
        if (noted == NULL)
            goto out;
        Py_DECREF(noted);
    }
    int appended = append(self, record, records, now);
    if (appended < 0 || (appended == 0 && call_with(relay, s_write, records) < 0))
        goto out;
    PyObject *more = PyLong_FromLongLong(count_of(SLOT(relay, relay_layout, RELAY_RECEIVED)) + size);
    if (more == NULL)
        goto out;
    PUT(relay, relay_layout, RELAY_RECEIVED, more);
    if (SLOT(live, live_layout, LIVE_STEADY) != Py_True) {
        PyObject *told = PyObject_CallMethodObjArgs(relay, s_tell, self->settle, self->number, NULL);
        if (told == NULL)
            goto out;
        Py_DECREF(told);
    }
    result = 1;
out:
    Py_XDECREF(record);
    Py_XDECREF(records);
    Py_XDECREF(added);
    Py_XDECREF(deadline);
    Py_XDECREF(more_chunks);
    Py_XDECREF(more_delivered);
    return result;
}

/* Return the length of an event's name in its head, 0 if it has none; -1 if the head is neither "data: " nor
 * "event: " with a name, and "data: " behind it. */
static Py_ssize_t name_in(const char *head, Py_ssize_t size)
{
    if (size < 6 || memcmp(head + size - 6, "data: ", 6) != 0)
        return -1;
    if (size == 6)
        return 0;
    if (size < 15 || memcmp(head, "event: ", 7) != 0 || head[size - 7] != '\n' ||
        memchr(head + 7, '\n', (size_t)size - 14) != NULL || memchr(head + 7, '\r', (size_t)size - 14) != NULL)
        return -1;
    return size - 14;
}

/* learn(data, records): see what stands around the text of a piece of a body that Python has taken, and its records.
 *
 * Returns itself when the next such event can be taken here, else None. */
static PyObject *path_learn(ShortPath *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2 || !PyBytes_CheckExact(args[0]) || !PyList_CheckExact(args[1])) {
        PyErr_SetString(PyExc_TypeError, "learn takes bytes and a list");
        return NULL;
    }
    PyObject *data = args[0], *records = args[1];
    const char *event = PyBytes_AS_STRING(data);
    Py_ssize_t size = PyBytes_GET_SIZE(data);
    Py_CLEAR(self->learned);
    if (PyList_GET_SIZE(records) != 1 || SLOT(self->live, live_layout, LIVE_STEADY) != Py_True ||
        SLOT(self->live, live_layout, LIVE_HOLDING) != Py_False ||
        SLOT(self->sse, sse_layout, SSE_SPECIAL) != Py_False || SLOT(self->sse, sse_layout, SSE_FRESH) != Py_True ||
        PyObject_Size(SLOT(self->sse, sse_layout, SSE_LINE)) != 0)
        Py_RETURN_NONE;
    PyObject *record = PyList_GET_ITEM(records, 0);
    if (!PyBytes_CheckExact(record))
        Py_RETURN_NONE;
    Py_ssize_t head = size - PyBytes_GET_SIZE(record) - 2, name = name_in(event, head);
    if (name < 0 || memcmp(event + head, PyBytes_AS_STRING(record), (size_t)PyBytes_GET_SIZE(record)) != 0 ||
        memcmp(event + size - 2, "\n\n", 2) != 0)
        Py_RETURN_NONE;
    /* The reader is asked each time: it may have seen something that has it look at every chunk from now on. */
    if (self->skipped < (1 << self->useless) - 1) {
        self->skipped++;
        Py_RETURN_NONE;
    }
    self->skipped = 0;
    if ((2 << self->useless) <= MOST_SKIPPED)
        self->useless++;
    Py_CLEAR(self->before);
    PyObject *named = name == 0 ? PyUnicode_FromString("message") : PyUnicode_DecodeUTF8(event + 7, name, "replace");
    if (named == NULL)
        return NULL;
    PyObject *around = PyObject_CallMethodObjArgs(self->decoder, s_around, record, named, NULL);
    Py_DECREF(named);
    if (around == NULL || around == Py_None)
        return around;
    const char *before, *after;
    Py_ssize_t before_size, after_size;
    PyObject *between;
    if (!PyArg_ParseTuple(around, "y#Oy#", &before, &before_size, &between, &after, &after_size)) {
        Py_DECREF(around);
        return NULL;
    }
    between = PyBytes_CheckExact(between) && PyBytes_GET_SIZE(between) > 0 ? between : NULL;
    Py_XINCREF(between);
    Py_XSETREF(self->between, between);
    PyObject *begin = PyBytes_FromStringAndSize(NULL, head + before_size);
    PyObject *end = PyBytes_FromStringAndSize(NULL, after_size + 2);
    if (begin == NULL || end == NULL) {
        Py_XDECREF(begin);
        Py_XDECREF(end);
        Py_DECREF(around);
        return NULL;
    }
    memcpy(PyBytes_AS_STRING(begin), event, (size_t)head);
    memcpy(PyBytes_AS_STRING(begin) + head, before, (size_t)before_size);
    memcpy(PyBytes_AS_STRING(end), after, (size_t)after_size);
    memcpy(PyBytes_AS_STRING(end) + after_size, "\n\n", 2);
    Py_DECREF(around);
    self->before = begin;
    Py_XSETREF(self->after, end);
    self->head = head;
    Py_ssize_t text_size;
    const char *text = text_in(self, event, size, &text_size);
    char decoded[MOST_TEXT];
    if (text == NULL || decode_text(text, &text_size, decoded) == 0)
        Py_RETURN_NONE;
    Py_INCREF(data);
    self->learned = data;
    Py_INCREF(self);
    return (PyObject *)self;
}

static int path_traverse(ShortPath *self, visitproc visit, void *arg)
{
    Py_VISIT(self->relay);
    Py_VISIT(self->live);
    Py_VISIT(self->transcript);
    Py_VISIT(self->sse);
    Py_VISIT(self->decoder);
    Py_VISIT(self->writer);
    Py_VISIT(self->stream);
    Py_VISIT(self->settle);
    Py_VISIT(self->note);
    return 0;
}

static void path_dealloc(ShortPath *self)
{
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->relay);
    Py_XDECREF(self->live);
    Py_XDECREF(self->transcript);
    Py_XDECREF(self->sse);
    Py_XDECREF(self->decoder);
    Py_XDECREF(self->writer);
    Py_XDECREF(self->stream);
    Py_XDECREF(self->number);
    Py_XDECREF(self->settle);
    Py_XDECREF(self->note);
    Py_XDECREF(self->before);
    Py_XDECREF(self->between);
    Py_XDECREF(self->after);
    Py_XDECREF(self->learned);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef path_methods[] = {
    {"learn", (PyCFunction)(void (*)(void))path_learn, METH_FASTCALL,
     "See what stands around the text of a piece of a body that Python has taken; return itself if it is of use."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject ShortPathType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "everytoken.native.ShortPath",
    .tp_basicsize = sizeof(ShortPath),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_methods = path_methods,
    .tp_traverse = (traverseproc)path_traverse,
    .tp_dealloc = (destructor)path_dealloc,
};

/* short_path(sink, writer, longest, full): the short path of an attempt; None if it has none. */
static PyObject *native_short_path(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *sink, *writer;
    Py_ssize_t longest, full;
    if (!PyArg_ParseTuple(args, "OOnn:short_path", &sink, &writer, &longest, &full))
        return NULL;
    PyObject *relay = NULL, *live = NULL, *stream = NULL;
    int known = fits(sink, &sink_layout);
    if (known > 0) {
        relay = SLOT(sink, sink_layout, SINK_RELAY);
        live = SLOT(sink, sink_layout, SINK_LIVE);
        known = fits(relay, &relay_layout);
    }
    if (known > 0)
        known = fits(live, &live_layout);
    if (known > 0)
        known = fits(SLOT(live, live_layout, LIVE_TRANSCRIPT), &transcript_layout);
    if (known < 0)
        return NULL;
    /* A journal may have writers of its own, a translated stream has no decoder of its own, and most dialects cannot
     * say what stands around a text. */
    if (known == 0 || !is_known(writer, &writer_layout) ||
        !is_known(stream = SLOT(writer, writer_layout, WRITER_LOG), &stream_layout) ||
        !is_known(SLOT(live, live_layout, LIVE_SSE), &sse_layout) ||
        !PyObject_HasAttr(SLOT(live, live_layout, LIVE_DECODER), s_around))
        Py_RETURN_NONE;
    PyObject *recovery = PyObject_GetAttr(relay, s_recovery);
    PyObject *settle = recovery == NULL ? NULL : PyObject_GetAttr(recovery, s_settle);
    Py_XDECREF(recovery);
    if (settle == NULL)
        return NULL;
    ShortPath *self = PyObject_GC_New(ShortPath, &ShortPathType);
    if (self == NULL) {
        Py_DECREF(settle);
        return NULL;
    }
    memset((char *)self + offsetof(ShortPath, relay), 0, sizeof(ShortPath) - offsetof(ShortPath, relay));
    Py_INCREF(self->relay = relay);
    Py_INCREF(self->live = live);
    Py_INCREF(self->transcript = SLOT(live, live_layout, LIVE_TRANSCRIPT));
    Py_INCREF(self->sse = SLOT(live, live_layout, LIVE_SSE));
    Py_INCREF(self->decoder = SLOT(live, live_layout, LIVE_DECODER));
    Py_INCREF(self->writer = writer);
    Py_INCREF(self->stream = stream);
    Py_INCREF(self->number = SLOT(sink, sink_layout, SINK_NUMBER));
    PyObject *note = SLOT(sink, sink_layout, SINK_NOTE);
    if (note != Py_None)
        Py_INCREF(self->note = note);
    self->settle = settle;
    self->longest = longest;
    self->full = full;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

/* ---- A commit: what everytoken.journal.commit.GroupCommit does with each stream ---- */

/* begin(stream): as `Stream.begin`. */
static PyObject *native_begin(PyObject *module, PyObject *stream)
{
    (void)module;
    PyObject *pending, *packed;
    if (!is_known(stream, &stream_layout) || SLOT(stream, stream_layout, STREAM_SPECIAL) != Py_False ||
        !PyList_CheckExact(pending = SLOT(stream, stream_layout, STREAM_PENDING)) ||
        !is_known(packed = SLOT(stream, stream_layout, STREAM_RECORDS), &packed_layout))
        return PyObject_CallMethodNoArgs(stream, s_begin);
    PyObject *empty = PyList_New(0);
    if (empty == NULL)
        return NULL;
    Py_INCREF(Py_False);
    PUT(stream, stream_layout, STREAM_DIRTY, Py_False);
    PUT(stream, stream_layout, STREAM_PENDING_BYTES, PyLong_FromLong(0));
    Py_INCREF(pending);
    PUT(stream, stream_layout, STREAM_STORING, pending);
    PUT(stream, stream_layout, STREAM_PENDING, empty);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(pending); i++) {
        PyObject *record = PyList_GET_ITEM(pending, i);
        if ((PyBytes_CheckExact(record) ? pack(packed, record) : extend(packed, record)) < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

/* commit(stream): as `Stream.commit`. */
static PyObject *native_commit(PyObject *module, PyObject *stream)
{
    (void)module;
    PyObject *records = NULL;
    long long tail = -1;
    int plain = is_known(stream, &stream_layout) && SLOT(stream, stream_layout, STREAM_STORING_SPECIAL) == Py_False &&
                PyList_CheckExact(records = SLOT(stream, stream_layout, STREAM_STORING)) &&
                (tail = count_of(SLOT(stream, stream_layout, STREAM_TAIL))) >= 0;
    Py_ssize_t size = 0;
    for (Py_ssize_t i = 0; plain && PyList_GET_SIZE(records) > 1 && i < PyList_GET_SIZE(records); i++) {
        PyObject *record = PyList_GET_ITEM(records, i);
        size += PyBytes_CheckExact(record) ? PyBytes_GET_SIZE(record) : MOST_SHOWN;
        plain = size < MOST_SHOWN;
    }
    if (!plain)
        return PyObject_CallMethodNoArgs(stream, s_commit);
    PyObject *empty = PyList_New(0), *reached = PyLong_FromLongLong(tail + PyList_GET_SIZE(records));
    if (empty == NULL || reached == NULL) {
        Py_XDECREF(empty);
        Py_XDECREF(reached);
        return NULL;
    }
    PUT(stream, stream_layout, STREAM_TAIL, reached);
    Py_INCREF(records);
    PUT(stream, stream_layout, STREAM_NEWEST, records);
    PUT(stream, stream_layout, STREAM_STORING, empty);
    if (tell_readers(stream, NULL) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* part(packed, start): as `PackedRecords.part`. */
static PyObject *native_part(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "part takes records and where to begin");
        return NULL;
    }
    PyObject *packed = args[0];
    long long start = count_of(args[1]);
    if (start < 1 || !is_known(packed, &packed_layout))
        goto python;
    PyObject *runs = SLOT(packed, packed_layout, PACKED_RUNS), *ends = SLOT(packed, packed_layout, PACKED_ENDS);
    PyObject *blob = SLOT(packed, packed_layout, PACKED_BLOB);
    if (!PyList_CheckExact(runs) || PyList_GET_SIZE(runs) == 0 || !PyByteArray_CheckExact(blob) ||
        PyObject_Size(ends) != start + 1)
        goto python;
    PyObject *last = PyList_GET_ITEM(runs, PyList_GET_SIZE(runs) - 1);
    if (!PyTuple_CheckExact(last) || PyTuple_GET_SIZE(last) != 3 || count_of(PyTuple_GET_ITEM(last, 0)) >= start)
        goto python;
    /* One record, as its run has it: nearly always. */
    PyObject *before = PySequence_GetItem(ends, (Py_ssize_t)start - 1);
    if (before == NULL)
        return NULL;
    long long here = count_of(before);
    Py_DECREF(before);
    if (here < 0 || here > PyByteArray_GET_SIZE(blob))
        goto python;
    PyObject *middle =
        PyBytes_FromStringAndSize(PyByteArray_AS_STRING(blob) + here, PyByteArray_GET_SIZE(blob) - (Py_ssize_t)here);
    return middle == NULL ? NULL : Py_BuildValue("(O[N])", Py_None, middle);
python:
    return PyObject_CallMethodOneArg(packed, s_part, args[1]);
}

/* ---- Receiver: everytoken.upstream.protocol.HttpProtocol.data_received ---- */

typedef struct {
    PyObject_HEAD
    PyObject *protocol, *time;
    /* While the next byte begins an HTTP chunk: who takes what is in it, of which exchange. */
    ShortPath *path;
    PyObject *exchange, *on_body;
    PyObject *held;     /* bytes: the beginning of a chunk, whose rest has not come; NULL if there is none */
    Py_ssize_t counted; /* how many of them are counted as received: those of the body */
} Receiver;

/* Return the size that the head of an HTTP chunk says, its line ending at `line_end`; -1 if it is not plain. */
static Py_ssize_t size_of(const char *head, const char *line_end)
{
    Py_ssize_t size = 0;
    if (line_end - head < 2 || line_end - head > 9 || line_end[-1] != '\r')
        return -1;
    for (; head < line_end - 1; head++) {
        char c = *head;
        if (c >= '0' && c <= '9')
            size = size << 4 | (c - '0');
        else if (c >= 'a' && c <= 'f')
            size = size << 4 | (c - 'a' + 10);
        else if (c >= 'A' && c <= 'F')
            size = size << 4 | (c - 'A' + 10);
        else
            return -1;
    }
    return size;
}

/* Read the head of an HTTP chunk; return where its data begins, and set its size. NULL if it is not all there, or not
 * plain. */
static const char *chunk_at(const char *data, const char *end, Py_ssize_t *size)
{
    size_t most = (size_t)(end - data) < 10 ? (size_t)(end - data) : 10;
    const char *line_end = memchr(data, '\n', most);
    if (line_end == NULL || (*size = size_of(data, line_end)) < 9 || end - line_end - 3 < *size)
        return NULL;
    data = line_end + 1;
    return data[*size] == '\r' && data[*size + 1] == '\n' ? data : NULL;
}

static void forget_path(Receiver *self)
{
    Py_CLEAR(self->path);
    Py_CLEAR(self->exchange);
    Py_CLEAR(self->on_body);
}

/* Count bytes of the body as received without content, as `AttemptSink.on_data` does; they may be fewer than none.
 * Returns 0, with nothing changed, if Python has to look at how many there are. */
static int count(ShortPath *path, Py_ssize_t bytes)
{
    long long received = count_of(SLOT(path->relay, relay_layout, RELAY_RECEIVED));
    long long look_at = count_of(SLOT(path->relay, relay_layout, RELAY_LOOK_AT));
    long long quiet = count_of(SLOT(path->live, live_layout, LIVE_QUIET));
    if (received < 0 || look_at < 0 || quiet < 0 || (bytes > 0 && received + bytes > look_at) ||
        received + bytes < 0 || quiet + bytes < 0)
        return 0;
    PyObject *more = PyLong_FromLongLong(received + bytes), *longer = PyLong_FromLongLong(quiet + bytes);
    if (more == NULL || longer == NULL) {
        Py_XDECREF(more);
        Py_XDECREF(longer);
        PyErr_Clear();
        return 0;
    }
    PUT(path->relay, relay_layout, RELAY_RECEIVED, more);
    PUT(path->live, live_layout, LIVE_QUIET, longer);
    return 1;
}

/* Keep the beginning of a chunk until its rest comes, if there is no whole event in it. Returns 0, with nothing changed,
 * if not; -1 with an exception. */
static int hold(Receiver *self, const char *chunk, const char *end, PyObject *now)
{
    ShortPath *path = self->path;
    const char *line_end = memchr(chunk, '\n', (size_t)(end - chunk));
    Py_ssize_t bytes = line_end == NULL ? 0 : end - line_end - 1;
    if (end - chunk > MOST_HELD || SLOT(path->live, live_layout, LIVE_STEADY) != Py_True)
        return 0;
    if (line_end == NULL) {
        for (const char *c = chunk; c < end; c++)
            if (!(*c >= '0' && *c <= '9') && !(*c >= 'a' && *c <= 'f') && !(*c >= 'A' && *c <= 'F') &&
                !(*c == '\r' && c > chunk && c == end - 1))
                return 0;
    }
    else {
        Py_ssize_t size = size_of(chunk, line_end);
        if (size < 0 || bytes >= size || memchr(line_end + 1, '\n', (size_t)bytes) != NULL)
            return 0;
    }
    PyObject *held = PyBytes_FromStringAndSize(chunk, end - chunk);
    if (held == NULL)
        return -1;
    if (bytes > 0) {
        if (!count(path, bytes)) {
            Py_DECREF(held);
            return 0;
        }
        Py_INCREF(now);
        PUT(path->live, live_layout, LIVE_LAST_BYTES, now);
        Py_INCREF(Py_False);
        PUT(path->live, live_layout, LIVE_CONTENT, Py_False);
    }
    self->held = held;
    self->counted = bytes;
    return 1;
}

/* Have Python take what was read, and look whether the next chunk can be taken here. Returns -1 with an exception. */
static int receive_in_python(Receiver *self, const char *begin, Py_ssize_t length)
{
    PyObject *protocol = self->protocol;
    forget_path(self);
    PyObject *data = PyBytes_FromStringAndSize(begin, length);
    if (data == NULL)
        return -1;
    int received = call_with(protocol, s_data_received, data);
    Py_DECREF(data);
    if (received < 0)
        return -1;
    PyObject *found = SLOT(protocol, protocol_layout, PROTOCOL_SHORT);
    if (found == NULL || !Py_IS_TYPE(found, &ShortPathType))
        return 0;
    Py_INCREF(found);
    Py_INCREF(Py_None);
    PUT(protocol, protocol_layout, PROTOCOL_SHORT, Py_None);
    ShortPath *path = (ShortPath *)found;
    PyObject *body = path->learned;
    path->learned = NULL;
    PyObject *exchange = SLOT(protocol, protocol_layout, PROTOCOL_EXCHANGE);
    if (body != NULL && exchange != NULL && exchange != Py_None && is_known(exchange, &exchange_layout)) {
        /* The parser has just handed out `body`, last of all, and it is what the read ends with, in a chunk of its own.
         * So the parser stands behind that chunk. */
        Py_ssize_t size = PyBytes_GET_SIZE(body), there;
        char head[24];
        int head_size = snprintf(head, sizeof head, "%zx\r\n", (size_t)size);
        const char *end = begin + length, *chunk = end - size - 2 - head_size;
        const char *inside = chunk < begin ? NULL : chunk_at(chunk, end, &there);
        if (inside != NULL && there == size && inside + size + 2 == end &&
            memcmp(inside, PyBytes_AS_STRING(body), (size_t)size) == 0) {
            self->path = path;
            Py_INCREF(path);
            Py_INCREF(self->exchange = exchange);
            Py_INCREF(self->on_body = SLOT(exchange, exchange_layout, EXCHANGE_ON_BODY));
        }
    }
    Py_XDECREF(body);
    Py_DECREF(found);
    return 0;
}

/* Tell the protocol of an exception of ours, which ends the attempt and nothing else. Returns -1 with one that does more. */
static int give_up(Receiver *self)
{
    forget_path(self);
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return -1;
    PyObject *error = taken_exception();
    int told = call_with(self->protocol, s_internal_error, error);
    Py_DECREF(error);
    return told;
}

/* Take the chunks from `at` on that can be taken here; return where the first begins that cannot. NULL with an exception. */
static const char *take_chunks(Receiver *self, const char *at, const char *end, PyObject *now)
{
    while (at < end && self->path != NULL) {
        PyObject *exchange = SLOT(self->protocol, protocol_layout, PROTOCOL_EXCHANGE);
        if (exchange != self->exchange || SLOT(exchange, exchange_layout, EXCHANGE_ON_BODY) != self->on_body)
            break;
        Py_ssize_t size;
        const char *event = chunk_at(at, end, &size);
        if (event == NULL)
            break;
        ShortPath *path = self->path;
        Py_INCREF(path); /* a reader's fault may close the connection */
        int taken = take(path, event, size, now);
        Py_DECREF(path);
        if (taken < 0)
            return NULL;
        if (taken == 0)
            break;
        at = event + size + 2;
    }
    return at;
}

/* Return behind the last place where a chunk may end; `end` if there is none. */
static const char *last_end(const char *begin, const char *end)
{
    for (const char *at = end; at - begin >= 4; at--)
        if (at[-1] == '\n' && at[-2] == '\r' && at[-3] == '\n' && at[-4] == '\n')
            return at;
    return end;
}

static int is_closed(Receiver *self)
{
    PyObject *transport = SLOT(self->protocol, protocol_layout, PROTOCOL_TRANSPORT);
    if (transport == NULL || transport == Py_None)
        return 1;
    PyObject *closing = PyObject_CallMethodNoArgs(transport, s_is_closing);
    if (closing == NULL)
        PyErr_Clear();
    Py_XDECREF(closing); /* True and False live for ever */
    return closing == Py_True;
}

/* Take what was read, here and in Python. Returns -1 with an exception. */
static int receive(Receiver *self, const char *at, const char *end)
{
    PyObject *now = PyObject_CallNoArgs(self->time);
    if (now == NULL)
        return -1;
    int result = 0;
    while (at < end) {
        if (self->path != NULL) {
            at = take_chunks(self, at, end, now);
            if (at == NULL) {
                result = give_up(self);
                break;
            }
            if (at == end)
                break;
            PyObject *exchange = SLOT(self->protocol, protocol_layout, PROTOCOL_EXCHANGE);
            if (exchange == self->exchange && SLOT(exchange, exchange_layout, EXCHANGE_ON_BODY) == self->on_body) {
                result = hold(self, at, end, now);
                if (result != 0)
                    break;
            }
        }
        /* Behind the last whole chunk of this read, or of what is left of it, the rest may be taken here again. */
        const char *next = last_end(at, end);
        result = receive_in_python(self, at, next - at);
        if (result < 0)
            break;
        at = next;
        if (at < end && is_closed(self)) /* what it took was the last: a transport reads no more then */
            break;
    }
    Py_DECREF(now);
    return result < 0 ? -1 : 0;
}

static PyObject *receiver_data_received(Receiver *self, PyObject *data)
{
    PyObject *whole = PyObject_Bytes(data); /* nearly always `data` itself */
    if (whole != NULL && self->held != NULL) {
        if (self->path != NULL)
            count(self->path, -self->counted);
        PyBytes_Concat(&self->held, whole);
        Py_SETREF(whole, self->held);
        self->held = NULL;
    }
    if (whole == NULL)
        return NULL;
    int received = receive(self, PyBytes_AS_STRING(whole), PyBytes_AS_STRING(whole) + PyBytes_GET_SIZE(whole));
    Py_DECREF(whole);
    if (received < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* All but `data_received` is the protocol's own. */
static PyObject *receiver_getattro(Receiver *self, PyObject *name)
{
    PyObject *own = PyObject_GenericGetAttr((PyObject *)self, name);
    if (own != NULL || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return own;
    PyErr_Clear();
    return PyObject_GetAttr(self->protocol, name);
}

static int receiver_traverse(Receiver *self, visitproc visit, void *arg)
{
    Py_VISIT(self->protocol);
    Py_VISIT(self->time);
    Py_VISIT(self->path);
    Py_VISIT(self->exchange);
    Py_VISIT(self->on_body);
    return 0;
}

static int receiver_clear(Receiver *self)
{
    forget_path(self);
    Py_CLEAR(self->held);
    return 0;
}

static void receiver_dealloc(Receiver *self)
{
    PyObject_GC_UnTrack(self);
    forget_path(self);
    Py_XDECREF(self->held);
    Py_XDECREF(self->protocol);
    Py_XDECREF(self->time);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef receiver_methods[] = {
    {"data_received", (PyCFunction)receiver_data_received, METH_O, "Take what was read."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject ReceiverType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "everytoken.native.Receiver",
    .tp_basicsize = sizeof(Receiver),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_methods = receiver_methods,
    .tp_getattro = (getattrofunc)receiver_getattro,
    .tp_traverse = (traverseproc)receiver_traverse,
    .tp_clear = (inquiry)receiver_clear,
    .tp_dealloc = (destructor)receiver_dealloc,
};

/* receiver(protocol, time): what to give the transport in place of the protocol. */
static PyObject *native_receiver(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *protocol, *time;
    if (!PyArg_ParseTuple(args, "OO:receiver", &protocol, &time))
        return NULL;
    int known = fits(protocol, &protocol_layout);
    if (known <= 0) {
        if (known == 0)
            PyErr_SetString(PyExc_TypeError, "not an HttpProtocol");
        return NULL;
    }
    Receiver *self = PyObject_GC_New(Receiver, &ReceiverType);
    if (self == NULL)
        return NULL;
    Py_INCREF(self->protocol = protocol);
    Py_INCREF(self->time = time);
    self->path = NULL;
    self->exchange = self->on_body = self->held = NULL;
    self->counted = 0;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

/* ---- The module ---- */

static PyMethodDef native_methods[] = {
    {"begin", native_begin, METH_O, "begin(stream): as `Stream.begin`."},
    {"commit", native_commit, METH_O, "commit(stream): as `Stream.commit`."},
    {"part", (PyCFunction)(void (*)(void))native_part, METH_FASTCALL, "part(packed, start): as `PackedRecords.part`."},
    {"mover", native_mover, METH_VARARGS, "mover(follower, ids, named): what to call when the follower's log has moved."},
    {"receiver", native_receiver, METH_VARARGS,
     "receiver(protocol, time): what to give the transport in place of the protocol."},
    {"short_path", native_short_path, METH_VARARGS,
     "short_path(sink, writer, longest, full): the short path of an attempt, or None."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef native_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "everytoken.native._short_path",
    .m_size = -1,
    .m_methods = native_methods,
};

PyMODINIT_FUNC PyInit__short_path(void)
{
    static const struct {
        PyObject **to;
        const char *name;
    } names[] = {
        {&s_append, "append"}, {&s_epoch, "epoch"}, {&s_extend, "extend"}, {&s_truncate, "truncate"},
        {&s_wake, "wake"}, {&s_write_paused, "write_paused"}, {&s_write, "write"}, {&s_settle, "settle"},
        {&s_recovery, "recovery"}, {&s_tell, "tell"},
        {&s_around, "around"}, {&s_reader_failed, "reader_failed"}, {&s_internal_error, "internal_error"},
        {&s_data_received, "data_received"}, {&s_moved, "moved"},
        {&s_begin, "begin"}, {&s_commit, "commit"}, {&s_part, "part"}, {&s_is_closing, "is_closing"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if ((*names[i].to = PyUnicode_InternFromString(names[i].name)) == NULL)
            return NULL;
    if (PyType_Ready(&MoverType) < 0 || PyType_Ready(&ShortPathType) < 0 || PyType_Ready(&ReceiverType) < 0)
        return NULL;
    return PyModule_Create(&native_module);
}
