package trail

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Row is a row of a chunk. Its ID and Expect are part of the chain; State is its current
// state.
type Row struct {
	ID     string
	Expect []string
	State  byte
}

// Chain is the last hash of one chunk's trail, see Start.
type Chain [sha256.Size]byte

// Start returns a chain without entries. accepted is the operation's JSON as accepted; rows
// are in the order of their positions.
func Start(accepted string, chunk int, rows []Row) Chain {
	h := sha256.New()
	fmt.Fprintf(h, "detachd trail 1\n%s\n%d\n", accepted, chunk)
	for _, row := range rows {
		fmt.Fprintf(h, "%s\t%s\n", row.ID, strings.Join(row.Expect, "\t"))
	}
	return Chain(h.Sum(nil))
}

// Add returns the chain with one more stored entry.
func (c Chain) Add(raw string) Chain { return sha256.Sum256(append(c[:], raw...)) }

// Head returns the audit seal of an operation, in hex, from the chains of its chunks in
// their order.
func Head(chains []Chain) string {
	h := sha256.New()
	for _, c := range chains {
		h.Write(c[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}
