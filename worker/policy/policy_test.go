package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
)

// The table, row by row: what each documented status and code means for a call
// that had no effect.
func TestPolicyOfCalls(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		status int
		code   string
		want   tasks.Class
	}{
		{429, "APIGW.0308", tasks.ClassThrottled}, {429, "", tasks.ClassThrottled},
		{401, "APIGW.0301", tasks.ClassAuth}, {401, "APIGW.0303", tasks.ClassAuth}, {401, "APIGW.0307", tasks.ClassAuth}, {401, "WKS.00211302", tasks.ClassAuth}, {401, "", tasks.ClassAuth},
		{404, "APIGW.0101", tasks.ClassPolicy}, {404, "APIGW.0103", tasks.ClassPolicy}, {403, "APIGW.0302", tasks.ClassPolicy}, {403, "APIGW.0304", tasks.ClassPolicy},
		{401, "APIGW.0305", tasks.ClassAuth}, {403, "APIGW.0306", tasks.ClassPolicy}, {403, "APIGW.0310", tasks.ClassPolicy}, {403, "APIGW.0401", tasks.ClassPolicy},
		{403, "APIGW.0402", tasks.ClassPolicy}, {403, "APIGW.0404", tasks.ClassPolicy}, {405, "APIGW.0501", tasks.ClassPolicy}, {405, "APIGW.0502", tasks.ClassPolicy},
		{403, "APIGW.0802", tasks.ClassPolicy}, {403, "WKS.00010099", tasks.ClassPolicy}, {400, "WKS.00170117", tasks.ClassPolicy},
		{409, "WKS.00010032", tasks.ClassConflict}, {409, "", tasks.ClassConflict}, {400, "WKS.0407", tasks.ClassConflict},
		{503, "APIGW.0613", tasks.ClassTransient}, {503, "WKS.00050902", tasks.ClassTransient}, {0, "", tasks.ClassTransient},
		{405, "WKS.00000405", tasks.ClassPermanent}, {413, "APIGW.0201", tasks.ClassPermanent}, {414, "APIGW.0201", tasks.ClassPermanent}, {415, "", tasks.ClassPermanent},
		{494, "APIGW.0201", tasks.ClassPermanent}, {302, "", tasks.ClassNotAPI}, {407, "", tasks.ClassNotAPI},
		{400, "APIGW.0104", tasks.ClassPolicy}, {500, "APIGW.0105", tasks.ClassPolicy}, {400, "APIGW.0106", tasks.ClassPolicy}, {400, "APIGW.0204", tasks.ClassPolicy}, {400, "APIGW.0201", tasks.ClassPoison}, {400, "APIGW.0602", tasks.ClassPoison},
		{400, "WKS.0001", tasks.ClassPoison}, {400, "WKS.00211102", tasks.ClassPoison}, {403, "WKS.00081102", tasks.ClassDenied}, {403, "", tasks.ClassDenied},
		{404, "WKS.00211902", tasks.ClassDenied}, {404, "", tasks.ClassDenied}, {422, "", tasks.ClassPoison},
	} {
		err := fmt.Errorf("wrapped: %w", &apiclient.Error{Status: row.status, Code: row.code, Effect: apiclient.EffectNone})
		require.Equal(t, row.want, NewRules(nil).Call(err), "status %d, code %q", row.status, row.code)
	}
}

// A reply that is not from the API, or a call that was never sent, says nothing about a
// desktop, whatever else is known of it.
func TestPolicyOfWhatIsNoAnswer(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 302, 403, 404, 407, 502} {
		for _, effect := range []apiclient.Effect{apiclient.EffectNone, apiclient.EffectPossible} {
			require.Equal(t, tasks.ClassNotAPI, NewRules(nil).Call(&apiclient.Error{Status: status, NotAPI: true, Effect: effect}), "status %d", status)
		}
	}
	require.Equal(t, tasks.ClassLocal, NewRules(nil).Call(&apiclient.Error{Local: true, Effect: apiclient.EffectNone}))
}

// Whatever the status says, what may have taken effect is never repeated blindly.
func TestPolicyOfPossibleEffectIsAmbiguous(t *testing.T) {
	t.Parallel()
	for _, status := range []int{0, 200, 429, 500, 502, 503, 504} {
		err := &apiclient.Error{Status: status, Effect: apiclient.EffectPossible}
		require.Equal(t, tasks.ClassAmbiguous, NewRules(nil).Call(err), "status %d", status)
	}
	require.Equal(t, tasks.ClassAmbiguous, NewRules(nil).Call(errors.New("from nowhere")))
}

func TestPolicyOfRefusedCredentials(t *testing.T) {
	t.Parallel()
	err := &apiclient.Error{Op: "KeystoneCreateUserTokenByPassword", Status: 403, Effect: apiclient.EffectNone, AuthFault: true}
	require.Equal(t, tasks.ClassAuth, NewRules(nil).Call(err))
}

// What IAM refuses says nothing about a desktop, whatever the status means elsewhere.
func TestPolicyOfIAM(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]tasks.Class{
		404: tasks.ClassPolicy, 405: tasks.ClassPolicy, 409: tasks.ClassPolicy, 413: tasks.ClassPolicy, 422: tasks.ClassPolicy,
		429: tasks.ClassThrottled, 500: tasks.ClassTransient, 503: tasks.ClassTransient, 0: tasks.ClassTransient, 302: tasks.ClassNotAPI,
	} {
		err := &apiclient.Error{Op: apiclient.OpToken, Status: status, Effect: apiclient.EffectNone}
		require.Equal(t, want, NewRules(nil).Call(err), "status %d", status)
	}
}

func TestPolicyOfDesktops(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]tasks.Class{
		"WKS.00010032": tasks.ClassConflict, "WKS.0407": tasks.ClassConflict, "WKS.00010110": tasks.ClassPermanent, "WKS.0001": tasks.ClassTransient,
		"WKS.00211102": tasks.ClassPermanent, "WKS.00139901": tasks.ClassPermanent, "WKS.00149901": tasks.ClassPermanent, "WKS.00169901": tasks.ClassPermanent,
		"WKS.00000405": tasks.ClassPermanent, "WKS.00081102": tasks.ClassPermanent, "WKS.00211902": tasks.ClassPermanent, "WKS.00010099": tasks.ClassPermanent,
		"WKS.00000003": tasks.ClassPermanent, "WKS.00170208": tasks.ClassPermanent, "WKS.00170312": tasks.ClassPermanent, "WKS.0005": tasks.ClassTransient, "WKS.0009": tasks.ClassTransient,
		"WKS.00129901": tasks.ClassTransient, "WKS.00211401": tasks.ClassTransient, "WKS.99999999": tasks.ClassTransient, "": tasks.ClassTransient,
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

// What an operator adds goes before what is built in, for whom it says only.
func TestPolicyOfAnOperator(t *testing.T) {
	t.Parallel()
	p := NewRules([]Rule{
		{Of: OfDesktop, Code: "WKS.00010110", Class: tasks.ClassConflict, Why: "it gets its address soon"},
		{Of: OfCall, Status: 4, Code: "X.*", Class: tasks.ClassThrottled, Why: "ours"},
	})
	require.Equal(t, tasks.ClassConflict, p.Desktop(200, "WKS.00010110"))
	require.Equal(t, tasks.ClassThrottled, p.Call(&apiclient.Error{Status: 418, Code: "X.1", Effect: apiclient.EffectNone}))
	require.Equal(t, tasks.ClassPermanent, p.Call(&apiclient.Error{Status: 418, Code: "Y.1", Effect: apiclient.EffectNone}))
	require.Equal(t, tasks.ClassTransient, p.Call(&apiclient.Error{Status: 503, Code: "X.1", Effect: apiclient.EffectNone}))
	require.Equal(t, tasks.ClassTransient, p.Desktop(200, "X.1"))
	require.Equal(t, tasks.ClassAmbiguous, p.Call(&apiclient.Error{Status: 418, Code: "X.1", Effect: apiclient.EffectPossible}), "no rule goes over that")
	for _, bad := range []Rule{
		{Of: "all", Code: "X", Class: tasks.ClassConflict}, {Of: OfDesktop, Code: "X", Class: tasks.ClassPoison}, {Of: OfCall, Code: "X", Class: tasks.ClassHeld},
		{Of: OfCall, Class: tasks.ClassConflict}, {Of: OfCall, Code: "*", Class: tasks.ClassConflict},
	} {
		require.NotEmpty(t, bad.Problem(), "%+v", bad)
	}
	require.Empty(t, Rule{Of: OfCall, Status: 418, Class: tasks.ClassConflict}.Problem())
}
