package record

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/trail"
)

// The trail stores the readings of a chunk's desktops before a call in packed form:
// base64 of
//
//	version (1), length of the next part, DEFLATE of the columns, ids as 16 bytes each
//
// Numbers in columns are varints, and each text follows its length. The columns are:
// the number of rows; per row the gap to the previous position, the time of the reading
// (ms since the previous row's), name, type, status, attach state, number of users,
// number of tags; per user 0 if it is new, or how far back the same user is; per new
// user name, kind of the id, domain, group, type, and the id if it is a text; the tags.
// UUIDs are kept outside the compressed part because they do not compress.
//
// A hundred desktops with one user each, random user ids and names like
// maria.schmidt-0042, take 35 bytes a desktop; a single desktop takes 106. Packing a
// hundred takes 0.07 ms, unpacking 0.05 ms.
const packVersion = 1

// Limits of unpacking, because a report may come from anyone. A reply of the cloud has
// at most 4 MiB.
const (
	maxUnpacked       = 16 << 20
	maxUnpackedPeople = 1 << 20
)

// packWords are common to most readings. Changing them needs a new version.
var packWords = []byte("POOLEDSHAREDGROUPHIBERNATEDSHUTOFFUNATTACHDEATTACHEDAdministratorssudousersdefaultUSERACTIVEATTACHEDDEDICATED")

// beforeAt is a reading of one row of a chunk.
type beforeAt struct {
	position int
	tasks.Before
}

// Kinds of ids.
const (
	idText = iota
	idUUID // in lower case, with dashes
	idHex  // the same without dashes
)

func packID(id string) (kind byte, raw [16]byte) {
	text, kind := id, byte(idHex)
	if len(id) == 36 && id[8] == '-' && id[13] == '-' && id[18] == '-' && id[23] == '-' {
		text, kind = id[:8]+id[9:13]+id[14:18]+id[19:23]+id[24:], idUUID
	}
	if len(text) != 32 || strings.ContainsAny(text, "ABCDEF") {
		return idText, raw
	}
	if _, err := hex.Decode(raw[:], []byte(text)); err != nil {
		return idText, raw
	}
	return kind, raw
}

func unpackID(kind byte, raw string) string {
	s := hex.EncodeToString([]byte(raw))
	if kind == idUUID {
		return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
	}
	return s
}

type columns []byte

func (c *columns) number(n int)   { *c = binary.AppendUvarint(*c, uint64(n)) }
func (c *columns) signed(n int64) { *c = binary.AppendVarint(*c, n) }
func (c *columns) text(s string) {
	s = strings.ToValidUTF8(s, "\uFFFD") // as JSON does
	c.number(len(s))
	*c = append(*c, s...)
}

type deflater struct {
	w   *flate.Writer
	out bytes.Buffer
}

var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriterDict(io.Discard, 2, packWords)
	if err != nil {
		panic(err) // the level is valid
	}
	return &deflater{w: w}
}}

// packBefore packs rows, in the order of their positions.
func packBefore(rows []beforeAt) string {
	c := make(columns, 0, 96*len(rows)) // a typical row takes 70
	c.number(len(rows))
	for i, last := 0, -1; i < len(rows); i++ {
		c.number(rows[i].position - last - 1)
		last = rows[i].position
	}
	last := int64(0)
	for _, b := range rows {
		at := b.ReadAt.UnixMilli()
		c.signed(at - last)
		last = at
	}
	for _, text := range []func(tasks.Before) string{
		func(b tasks.Before) string { return b.Name }, func(b tasks.Before) string { return b.Type },
		func(b tasks.Before) string { return b.Status }, func(b tasks.Before) string { return b.AttachState },
	} {
		for _, b := range rows {
			c.text(text(b.Before))
		}
	}
	for _, b := range rows {
		c.number(len(b.Users))
	}
	for _, b := range rows {
		c.number(len(b.Tags))
	}
	ids := c.people(rows)
	for _, b := range rows {
		for _, tag := range b.Tags {
			c.text(tag)
		}
	}
	return deflated(c, ids)
}

// deflated compresses columns, and adds the ids.
func deflated(plain columns, ids []byte) string {
	packed := deflate(plain)
	out := binary.AppendUvarint(append(make([]byte, 0, 1+binary.MaxVarintLen64+len(packed)+len(ids)), packVersion), uint64(len(packed)))
	out = append(append(out, packed...), ids...)
	return base64.RawStdEncoding.EncodeToString(out)
}

// deflate compresses columns; inflate undoes it.
func deflate(plain columns) string {
	d := deflaters.Get().(*deflater)
	defer deflaters.Put(d)
	d.out.Reset()
	d.w.Reset(&d.out)
	_, err := d.w.Write(plain)
	if err = errors.Join(err, d.w.Close()); err != nil {
		panic(err) // a buffer takes everything
	}
	return d.out.String()
}

// people appends the users of all rows, and returns the ids that are UUIDs.
func (c *columns) people(rows []beforeAt) (ids []byte) {
	people := make([]tasks.Person, 0, len(rows))
	place := make(map[tasks.Person]int, len(rows))
	for _, b := range rows {
		for _, p := range b.Users {
			if at, known := place[p]; known {
				c.number(len(people) - at)
				continue
			}
			place[p] = len(people)
			people = append(people, p)
			c.number(0)
		}
	}
	kinds, ids := make([]byte, len(people)), make([]byte, 0, 16*len(people))
	for i, p := range people {
		kind, raw := packID(p.ID)
		if kinds[i] = kind; kind != idText {
			ids = append(ids, raw[:]...)
		}
	}
	for _, p := range people {
		c.text(p.Name)
	}
	*c = append(*c, kinds...)
	for i, p := range people {
		if kinds[i] == idText {
			c.text(p.ID)
		}
	}
	for _, text := range []func(tasks.Person) string{
		func(p tasks.Person) string { return p.Domain }, func(p tasks.Person) string { return p.Group },
		func(p tasks.Person) string { return p.Type },
	} {
		for _, p := range people {
			c.text(text(p))
		}
	}
	return ids
}

var errPacked = errors.New("the stored readings of desktops cannot be unpacked")

type inflater struct {
	r   io.ReadCloser
	out bytes.Buffer
}

var inflaters = sync.Pool{New: func() any { return &inflater{r: flate.NewReaderDict(strings.NewReader(""), packWords)} }}

func inflate(s string) (string, error) {
	f := inflaters.Get().(*inflater)
	defer inflaters.Put(f)
	f.out.Reset()
	in := strings.NewReader(s)
	if err := f.r.(flate.Resetter).Reset(in, packWords); err != nil {
		return "", err
	}
	n, err := f.out.ReadFrom(io.LimitReader(f.r, maxUnpacked+1))
	if err != nil {
		return "", err
	}
	if n > maxUnpacked || in.Len() > 0 {
		return "", errPacked
	}
	return f.out.String(), nil
}

// packed reads columns; it keeps an error for the end.
type packed struct {
	s   string
	bad bool
}

func (p *packed) fail() { p.s, p.bad = "", true }

// number reads a number that is at most limit.
func (p *packed) number(limit int) int {
	n, size := uint64(0), 0
	for size < len(p.s) && size < binary.MaxVarintLen64 {
		b := p.s[size]
		n |= uint64(b&0x7f) << (7 * size)
		if size++; b < 0x80 {
			if n > uint64(limit) {
				break
			}
			p.s = p.s[size:]
			return int(n)
		}
	}
	p.fail()
	return 0
}

func (p *packed) signed() int64 {
	n, size := binary.Varint([]byte(p.s[:min(len(p.s), binary.MaxVarintLen64)]))
	if size <= 0 {
		p.fail()
		return 0
	}
	p.s = p.s[size:]
	return n
}

func (p *packed) take(n int) string {
	if n > len(p.s) {
		p.fail()
		return ""
	}
	out := p.s[:n]
	p.s = p.s[n:]
	return out
}

func (p *packed) text() string { return p.take(p.number(len(p.s))) }

func (p *packed) numbers(n, limit int) (out []int, total int) {
	out = make([]int, n)
	for i := range out {
		out[i] = p.number(limit)
		total += out[i]
	}
	if total > min(len(p.s), maxUnpackedPeople) { // each takes at least a byte
		p.fail()
		return make([]int, n), 0
	}
	return out, total
}

// unpackBefore undoes packBefore.
func unpackBefore(text string) ([]beforeAt, error) {
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPacked, err)
	}
	if len(raw) == 0 || raw[0] != packVersion {
		return nil, fmt.Errorf("%w: this program does not know their version", errPacked)
	}
	ids := packed{s: string(raw[1:])}
	plain, err := inflate(ids.text())
	if err != nil || ids.bad {
		return nil, errors.Join(errPacked, err)
	}
	p := packed{s: plain}
	rows := make([]beforeAt, p.number(ChunkSize))
	for i, next := 0, 0; i < len(rows); i++ {
		rows[i].position = next + p.number(ChunkSize-1-next)
		next = min(rows[i].position+1, ChunkSize-1)
		if i > 0 && rows[i].position <= rows[i-1].position {
			p.fail()
		}
	}
	last := int64(0)
	for i := range rows {
		last += p.signed()
		rows[i].ReadAt = time.UnixMilli(last).UTC()
	}
	for _, at := range []func(*tasks.Before) *string{
		func(b *tasks.Before) *string { return &b.Name }, func(b *tasks.Before) *string { return &b.Type },
		func(b *tasks.Before) *string { return &b.Status }, func(b *tasks.Before) *string { return &b.AttachState },
	} {
		for i := range rows {
			*at(&rows[i].Before) = p.text()
		}
	}
	users, total := p.numbers(len(rows), maxUnpackedPeople)
	tags, tagged := p.numbers(len(rows), maxUnpackedPeople)
	people := p.people(total, &ids)
	texts := make([]string, tagged)
	for i := range texts {
		texts[i] = p.text()
	}
	if p.bad || ids.bad || p.s != "" || ids.s != "" {
		return nil, errPacked
	}
	for i := range rows {
		rows[i].Users, people = people[:users[i]:users[i]], people[users[i]:]
		if n := tags[i]; n > 0 {
			rows[i].Tags, texts = texts[:n:n], texts[n:]
		}
	}
	return rows, nil
}

// people reads the users of all rows, one after the other.
func (p *packed) people(n int, ids *packed) []tasks.Person {
	from := make([]int, n) // in people
	known := 0
	for i := range from {
		if back := p.number(known); back > 0 {
			from[i] = known - back
		} else {
			from[i] = known
			known++
		}
	}
	people := make([]tasks.Person, known)
	for i := range people {
		people[i].Name = p.text()
	}
	kinds := p.take(known)
	for i := range kinds {
		switch kinds[i] {
		case idText:
			people[i].ID = p.text()
		case idUUID, idHex:
			if raw := ids.take(16); raw != "" {
				people[i].ID = unpackID(kinds[i], raw)
			}
		default:
			p.fail()
		}
	}
	for _, at := range []func(*tasks.Person) *string{
		func(x *tasks.Person) *string { return &x.Domain }, func(x *tasks.Person) *string { return &x.Group },
		func(x *tasks.Person) *string { return &x.Type },
	} {
		for i := range people {
			*at(&people[i]) = p.text()
		}
	}
	out := make([]tasks.Person, n)
	for i, at := range from {
		if at < len(people) {
			out[i] = people[at]
		}
	}
	return out
}

// readingsOf returns the readings in an entry of the trail; most entries have none.
func readingsOf(entry string) ([]beforeAt, error) {
	readings, has := trail.ReadingsIn(entry)
	if !has {
		return nil, nil
	}
	return unpackBefore(readings)
}

// trailReadings are the readings of a trail. Each entry is unpacked once, when it is first asked for.
type trailReadings struct {
	trail    []string
	unpacked [][]beforeAt // of the first entries
}

func (r *trailReadings) of(entry int) ([]beforeAt, error) {
	for len(r.unpacked) <= entry {
		next, err := readingsOf(r.trail[len(r.unpacked)])
		if err != nil {
			return nil, err
		}
		r.unpacked = append(r.unpacked, next)
	}
	return r.unpacked[entry], nil
}

// each goes through all readings, the earliest first.
func (r *trailReadings) each(do func(position int, b tasks.Before)) error {
	for entry := range r.trail {
		list, err := r.of(entry)
		if err != nil {
			return err
		}
		for i := range list {
			do(list[i].position, list[i].Before)
		}
	}
	return nil
}

// readAs stores a reading of the desktop. Call it in the order of the trail.
func (d *Row) readAs(b tasks.Before) {
	d.pin(b)
	d.Before = &b
}

// pin makes the users of a reading the expected ones, if the request named no users
// and no earlier reading showed any.
func (d *Row) pin(b tasks.Before) {
	if len(d.Expect) > 0 || len(d.Pinned) > 0 {
		return
	}
	for _, p := range b.Users {
		d.Pinned = append(d.Pinned, p.Name)
	}
}

// addPins fills in Pinned of a chunk's rows, which are in the order of their positions.
// It unpacks only as much of the trail as it needs.
func addPins(rows []Row, read *trailReadings) error {
	missing := 0
	for _, d := range rows {
		if len(d.Expected()) == 0 {
			missing++
		}
	}
	for entry := range read.trail {
		if missing == 0 {
			return nil
		}
		list, err := read.of(entry)
		if err != nil {
			return err
		}
		for _, b := range list {
			if b.position < len(rows) && len(rows[b.position].Expected()) == 0 && len(b.Users) > 0 {
				rows[b.position].pin(b.Before)
				missing--
			}
		}
	}
	return nil
}

// eachBefore goes through the readings in a trail, the earliest first.
func eachBefore(trail []string, do func(position int, b tasks.Before)) error {
	return (&trailReadings{trail: trail}).each(do)
}
