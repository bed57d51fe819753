package policy

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every code that workers can give has its own advice, and every class has advice for
// unknown codes.
func TestEveryCodeHasAdvice(t *testing.T) {
	t.Parallel()
	codes := map[string]bool{}
	for _, r := range Table(nil) {
		if r.Code != "" {
			codes[r.Code] = true
		}
		require.NotEmpty(t, Advice("X.1", r.Class))
	}
	for _, c := range Classes() {
		require.Regexp(t, `^[A-Z].*[^.]\.$`, c.Advice, c.Class)
	}
	for _, row := range Verdicts() {
		if row.Code != "" {
			codes[row.Code] = true
		}
	}
	for code := range codes {
		advice, own := codeAdvice(code)
		require.True(t, own, "%s has no advice: add it to adviceByCode", code)
		require.NotEmpty(t, advice)
	}
	for code, advice := range adviceByCode {
		require.Equal(t, strings.TrimSpace(advice), advice, code)
		require.Regexp(t, `^[A-Z].*[^.]\.$`, advice, "%s: advice is whole sentences, because every interface prints it as it is", code)
	}
}

func TestAdvice(t *testing.T) {
	t.Parallel()
	require.Equal(t, "Wake the desktop up in the Workspace console, then retry.", Advice("HIBERNATED", "held"))
	require.Equal(t, Advice("APIGW.0999", "permanent"), Advice("APIGW.*", "permanent"))
	require.NotEqual(t, Advice("APIGW.*", ""), Advice("APIGW.0301", "auth"), "an exact code wins")
	require.Equal(t, Advice("", "held"), Advice("NEW_CODE", "held"), "the advice of its class")
	require.NotEqual(t, Advice("", "held"), Advice("", "permanent"))
	require.Empty(t, Advice("NEW_CODE", "none"))
}
