package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
)

// The table, row by row: what each documented status and code means for a call
// that had no effect.
func TestPolicyOfCalls(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		status int
		code   string
		want   Class
	}{
		{429, "APIGW.0308", Throttle}, {429, "", Throttle},
		{401, "APIGW.0301", Auth}, {401, "APIGW.0303", Auth}, {401, "APIGW.0307", Auth}, {401, "WKS.00211302", Auth}, {401, "", Auth},
		{404, "APIGW.0101", Policy}, {404, "APIGW.0103", Policy}, {403, "APIGW.0302", Policy}, {403, "APIGW.0304", Policy},
		{401, "APIGW.0305", Auth}, {403, "APIGW.0306", Policy}, {403, "APIGW.0310", Policy}, {403, "APIGW.0401", Policy},
		{403, "APIGW.0402", Policy}, {403, "APIGW.0404", Policy}, {405, "APIGW.0501", Policy}, {405, "APIGW.0502", Policy},
		{403, "APIGW.0802", Policy}, {403, "WKS.00010099", Policy}, {400, "WKS.00170117", Policy},
		{409, "WKS.00010032", Conflict}, {409, "", Conflict}, {400, "WKS.0407", Conflict},
		{503, "APIGW.0613", Transient}, {503, "WKS.00050902", Transient}, {0, "", Transient},
		{405, "WKS.00000405", Permanent}, {413, "APIGW.0201", Permanent}, {414, "APIGW.0201", Permanent}, {415, "", Permanent},
		{494, "APIGW.0201", Permanent}, {302, "", Foreign}, {407, "", Foreign},
		{400, "APIGW.0106", Poison}, {400, "APIGW.0201", Poison}, {400, "APIGW.0602", Poison},
		{400, "WKS.0001", Poison}, {400, "WKS.00211102", Poison}, {403, "WKS.00081102", Denied}, {403, "", Denied},
		{404, "WKS.00211902", Denied}, {404, "", Denied}, {422, "", Poison},
	} {
		err := fmt.Errorf("wrapped: %w", &apiclient.Error{Status: row.status, Code: row.code, Effect: apiclient.EffectNone})
		require.Equal(t, row.want, NewRules(nil).Call(err), "status %d, code %q", row.status, row.code)
	}
}

// What is no answer of the API, or was never sent, says nothing of a desktop, whatever
// else is known of it.
func TestPolicyOfWhatIsNoAnswer(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 302, 403, 404, 407, 502} {
		for _, effect := range []apiclient.Effect{apiclient.EffectNone, apiclient.EffectPossible} {
			require.Equal(t, Foreign, NewRules(nil).Call(&apiclient.Error{Status: status, NotAPI: true, Effect: effect}), "status %d", status)
		}
	}
	require.Equal(t, Local, NewRules(nil).Call(&apiclient.Error{Local: true, Effect: apiclient.EffectNone}))
}

// Whatever the status says, what may have taken effect is never repeated blindly.
func TestPolicyOfPossibleEffectIsAmbiguous(t *testing.T) {
	t.Parallel()
	for _, status := range []int{0, 200, 429, 500, 502, 503, 504} {
		err := &apiclient.Error{Status: status, Effect: apiclient.EffectPossible}
		require.Equal(t, Ambiguous, NewRules(nil).Call(err), "status %d", status)
	}
	require.Equal(t, Ambiguous, NewRules(nil).Call(errors.New("from nowhere")))
}

func TestPolicyOfRefusedCredentials(t *testing.T) {
	t.Parallel()
	err := &apiclient.Error{Op: "KeystoneCreateUserTokenByPassword", Status: 403, Effect: apiclient.EffectNone, AuthFault: true}
	require.Equal(t, Auth, NewRules(nil).Call(err))
}

func TestPolicyOfDesktops(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]Class{
		"WKS.00010032": Conflict, "WKS.0407": Conflict, "WKS.00010110": Permanent, "WKS.0001": Permanent,
		"WKS.00211102": Permanent, "WKS.00139901": Permanent, "WKS.00149901": Permanent, "WKS.00169901": Permanent,
		"WKS.00000405": Permanent, "WKS.00081102": Permanent, "WKS.00211902": Permanent, "WKS.00010099": Permanent,
		"WKS.00000003": Permanent, "WKS.00170208": Permanent, "WKS.00170312": Permanent, "WKS.0005": Transient, "WKS.0009": Transient,
		"WKS.00129901": Transient, "WKS.00211401": Transient, "WKS.99999999": Transient, "": Transient,
	} {
		require.Equal(t, want, NewRules(nil).Desktop(200, code), "code %q", code)
	}
}

// Every row of the tables decides something: none is hidden behind an earlier
// one, and each says why.
func TestPolicyRowsAreAllReachable(t *testing.T) {
	t.Parallel()
	for name, rules := range map[string][]Rule{"calls": callRules, "desktops": desktopRules} {
		for i, r := range rules {
			require.NotEmpty(t, r.Why, "%s row %d", name, i)
			code := strings.TrimSuffix(r.Code, "*")
			status := r.Status
			if status > 0 && status < 10 {
				status = 100*status + 99
			}
			require.Equal(t, r, match(rules, status, code), "%s row %d is hidden", name, i)
		}
	}
}

func TestCulprits(t *testing.T) {
	t.Parallel()
	for message, want := range map[string][]string{
		"Operation conflict. The desktop current instance status is [rebooting] and deny operation [detach], resource id [d-1].": {"d-1"},
		"conflict, resource ids [a, b]": {"a", "b"},
		"nothing named":                 nil,
	} {
		require.Equal(t, want, Culprits(apiclient.Error{Message: message}), message)
	}
}

// What an operator adds goes before what is built in, for whom it says only.
func TestPolicyOfAnOperator(t *testing.T) {
	t.Parallel()
	p := NewRules([]Rule{
		{Of: OfDesktop, Code: "WKS.00010110", Class: Conflict, Why: "it gets its address soon"},
		{Of: OfCall, Status: 4, Code: "X.*", Class: Throttle, Why: "ours"},
	})
	require.Equal(t, Conflict, p.Desktop(200, "WKS.00010110"))
	require.Equal(t, Throttle, p.Call(&apiclient.Error{Status: 418, Code: "X.1", Effect: apiclient.EffectNone}))
	require.Equal(t, Permanent, p.Call(&apiclient.Error{Status: 418, Code: "Y.1", Effect: apiclient.EffectNone}))
	require.Equal(t, Transient, p.Call(&apiclient.Error{Status: 503, Code: "X.1", Effect: apiclient.EffectNone}))
	require.Equal(t, Transient, p.Desktop(200, "X.1"))
	require.Equal(t, Ambiguous, p.Call(&apiclient.Error{Status: 418, Code: "X.1", Effect: apiclient.EffectPossible}), "no rule goes over that")
	for _, bad := range []Rule{
		{Of: "all", Code: "X", Class: Conflict}, {Of: OfDesktop, Code: "X", Class: Poison}, {Of: OfCall, Code: "X", Class: HeldBack},
		{Of: OfCall, Class: Conflict}, {Of: OfCall, Code: "*", Class: Conflict},
	} {
		require.NotEmpty(t, bad.Problem(), "%+v", bad)
	}
	require.Empty(t, Rule{Of: OfCall, Status: 418, Class: Conflict}.Problem())
}
