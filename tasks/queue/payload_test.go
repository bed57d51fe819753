package queue

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPayloadRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := Payload{
			Version: 1, Operation: rapid.StringN(1, 30, -1).Draw(t, "op"), Project: rapid.StringN(1, 30, -1).Draw(t, "project"),
			Chunk: rapid.IntRange(0, 99_999).Draw(t, "chunk"), Generation: rapid.IntRange(0, 99).Draw(t, "generation"),
		}
		text := fmt.Sprintf(`{"v":1,"op":%q,"project":%q,"chunk":%d,"gen":%d}`, "o", "p", p.Chunk, p.Generation)
		got, err := DecodePayload([]byte(text))
		if err != nil || got.Chunk != p.Chunk || got.Generation != p.Generation {
			t.Fatal(got, err)
		}
	})
	for _, bad := range []string{
		``, `{}`, `null`, `[]`, `"x"`, `{"v":2,"op":"a","project":"p"}`, `{"v":1,"op":"a"}`, `{"v":1,"project":"a"}`,
		`{"v":1,"op":"a","project":"p","chunk":1.5}`, `{"v":1,"op":"a","project":"p","chunk":-1}`, `{"v":1,"op":"a","project":"p","more":1}`,
		`{"v":1,"op":"a","project":"p"}{}`, `{"v":1,"op":"a","project":"p","gen":-1}`,
	} {
		_, err := DecodePayload([]byte(bad))
		var reason *PayloadError
		require.ErrorAs(t, err, &reason, bad)
	}
}

func FuzzDecodePayload(f *testing.F) {
	f.Add([]byte(`{"v":1,"op":"d25c","project":"hq","chunk":3,"gen":1}`))
	f.Add([]byte(`{"v":1`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := DecodePayload(b)
		var bad *PayloadError
		if err != nil && !errors.As(err, &bad) {
			t.Fatalf("error of another type: %v", err)
		}
		if err == nil && (p.Operation == "" || p.Project == "" || p.Chunk < 0 || p.Version != 1) {
			t.Fatalf("unusable payload was accepted: %+v", p)
		}
	})
}
