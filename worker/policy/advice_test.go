package policy

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every code that workers can give has advice of its own, and every class has some
// for codes that nobody has heard of.
func TestEveryCodeHasAdvice(t *testing.T) {
	t.Parallel()
	codes := map[string]bool{}
	for _, r := range Table(nil) {
		if r.Code != "" {
			codes[r.Code] = true
		}
		require.NotEmpty(t, Advice("X.1", string(r.Class)))
	}
	for _, row := range Verdicts() {
		if row.Code != "" {
			codes[row.Code] = true
		}
	}
	for code := range codes {
		advice, own := codeAdvice(code)
		require.True(t, own, "there is no advice for %s: add it to adviceByCode", code)
		require.NotEmpty(t, advice)
	}
	for code, advice := range adviceByCode {
		require.Equal(t, strings.TrimSpace(advice), advice, code)
		require.False(t, strings.HasSuffix(advice, "."), "%s: advice is no whole sentence, so that it can stand in a table", code)
	}
}

func TestAdvice(t *testing.T) {
	t.Parallel()
	require.Equal(t, "wake it up in the console, then retry", Advice("HIBERNATED", "held"))
	require.Equal(t, Advice("APIGW.0999", "permanent"), Advice("APIGW.*", "permanent"))
	require.NotEqual(t, Advice("APIGW.*", ""), Advice("APIGW.0301", "auth"), "the whole code goes first")
	require.Equal(t, Advice("", "held"), Advice("NEW_CODE", "held"), "what holds for its class")
	require.NotEqual(t, Advice("", "held"), Advice("", "permanent"))
	require.Empty(t, Advice("NEW_CODE", "none"))
}
