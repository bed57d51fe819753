package server

import (
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"go.yaml.in/yaml/v3"
)

// contractYAML is the OpenAPI document, written by hand. Tests compare it with the server.
//
//go:embed openapi.yaml
var contractYAML []byte

// contract is the document in JSON, and its ETag. It is made on first use: the command line
// has this server in its process too, and would wait for it.
var contract = sync.OnceValues(func() (text []byte, etag string) {
	var document any
	err := yaml.Unmarshal(contractYAML, &document)
	if err == nil {
		text, err = json.Marshal(document)
	}
	if err != nil {
		panic(err) // tests read it
	}
	return text, fmt.Sprintf(`"%.8x"`, sha256.Sum256(text))
})

// openAPI is GET /openapi.json.
func (s *server) openAPI(r *request) error {
	text, etag := contract()
	h := r.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "max-age=300")
	h.Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		r.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	_, _ = r.w.Write(text)
	return nil
}
