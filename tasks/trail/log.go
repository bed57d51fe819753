package trail

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// LogHash returns the hash of an entry of the audit log, in hex. previous is the hash of the
// entry before, empty for the first.
func LogHash(previous, stored string) string {
	sum := sha256.Sum256([]byte(previous + stored))
	return hex.EncodeToString(sum[:])
}

// LogEntry is an entry of the audit log.
type LogEntry struct {
	Seq            int64
	Stored         string // the entry without its hashes, as stored
	Previous, Hash string
}

// LogCheck checks entries of the audit log, the latest first. Its zero value is ready.
type LogCheck struct {
	last *LogEntry
}

// Add checks the entry before the one of the last call.
func (c *LogCheck) Add(e LogEntry) error {
	switch {
	case e.Seq < 1:
		return fmt.Errorf("an entry has the number %d", e.Seq)
	case LogHash(e.Previous, e.Stored) != e.Hash:
		return fmt.Errorf("entry %d does not have the hash of its content", e.Seq)
	case (e.Seq == 1) != (e.Previous == ""):
		return fmt.Errorf("entry %d is chained to %.64q", e.Seq, e.Previous)
	case c.last != nil && c.last.Seq-1 > e.Seq:
		return fmt.Errorf("entries %d to %d are missing", e.Seq+1, c.last.Seq-1)
	case c.last != nil && c.last.Seq-1 != e.Seq:
		return fmt.Errorf("entry %d follows entry %d", e.Seq, c.last.Seq)
	case c.last != nil && c.last.Previous != e.Hash:
		return fmt.Errorf("entry %d is not the one that entry %d is chained to", e.Seq, c.last.Seq)
	}
	c.last = &e
	return nil
}
