package trail

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Row is a row of a chunk. A chain begins with its ID and Expect; State is where it
// stands.
type Row struct {
	ID     string
	Expect []string
	State  byte
}

// Chain is the hash chain of one chunk's trail, made with Start.
type Chain [sha256.Size]byte

// Start begins a chain. accepted is the operation's JSON as it was accepted; the rows
// are in the order of their positions.
func Start(accepted string, chunk int, rows []Row) Chain {
	h := sha256.New()
	fmt.Fprintf(h, "detachd trail 1\n%s\n%d\n", accepted, chunk)
	for _, row := range rows {
		fmt.Fprintf(h, "%s\t%s\n", row.ID, strings.Join(row.Expect, "\t"))
	}
	return Chain(h.Sum(nil))
}

// Add continues the chain with an entry as it is stored.
func (c Chain) Add(raw string) Chain { return sha256.Sum256(append(c[:], raw...)) }

// Head joins the chains of an operation's chunks, in their order, in hex.
func Head(chains []Chain) string {
	h := sha256.New()
	for _, c := range chains {
		h.Write(c[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}
