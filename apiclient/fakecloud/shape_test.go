package fakecloud_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

// Every shape changes a reply to what it says.
func TestShapes(t *testing.T) {
	t.Parallel()
	for _, shape := range fakecloud.AllShapes {
		c := serve(t, fakecloud.Config{Shapes: []fakecloud.Shape{shape}})
		process := 7
		c.Add(proj, fakecloud.Desktop{ID: "a", Frozen: true, Process: &process})
		a := c.get("/desktops/detail")
		has := map[fakecloud.Shape][]string{
			fakecloud.Nulls:            {`"task_status":null`, `"tags":null`, `"isolated":null`},
			fakecloud.Omitted:          {`"desktop_id":"a"`},
			fakecloud.UnknownFields:    {`"x_new":{`, `"deprecated_":null`},
			fakecloud.NumbersAsStrings: {`"process":"7"`, `"total_count":"1"`},
			fakecloud.Floats:           {`"process":7.0`, `"total_count":1.0`},
			fakecloud.BoolsAsStrings:   {`"is_freeze":"true"`, `"isolated":"false"`},
			fakecloud.AddressList:      {`"addresses":[{`},
			fakecloud.NoTotal:          {`"total_count":null`},
			fakecloud.ByteOrderMark:    {"\ufeff{"},
			fakecloud.EscapedText:      {`"desktop_id":"\u0061"`},
		}[shape]
		require.NotEmpty(t, has, shape)
		for _, part := range has {
			require.Contains(t, a.body, part, shape)
		}
		if shape == fakecloud.Omitted {
			require.NotContains(t, a.body, `"task_status"`)
			require.NotContains(t, a.body, `null`)
		}
		require.True(t, json.Valid([]byte(strings.TrimPrefix(a.body, "\ufeff"))), a.body)
		require.Contains(t, c.get("/desktops/nobody").body, `"error_code":"WKS.00211902"`, "errors keep their shape")
	}
}
