package leavers

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSamePerson(t *testing.T) {
	t.Parallel()
	for account, others := range map[string][]string{
		"alee":         {"Ann Lee", "Lee, Ann", "ann.lee@corp.example", "ALEE@corp.example", `CORP\alee`, "ann_lee2"},
		"leean":        {"Ann Lee"},
		"ann.lee":      {"Lee, Ann", "annlee", "Ann Maria Lee", "ann.lee.ext"},
		"zoe.mueller":  {"Zoë Müller", "Müller, Zoe"},
		"jmuller":      {"José Müller"},
		"张三":           {"张三@corp.example"},
		"x":            {"x@corp.example"},
		"ann@corp.com": {"ann"},
	} {
		for _, other := range others {
			require.True(t, samePerson(account, other), "%s %s", account, other)
			require.True(t, samePerson(other, account), "%s %s", other, account)
		}
	}
	for account, others := range map[string][]string{
		"alee":      {"Bob Lee", "bob", "Ann Smith", "u1234", "A L E E", ""},
		"ann.smith": {"Ann Lee", "ann.lee@corp.example"}, // the manager has the same first name
		"joannes":   {"Ann Lee"},
		"al":        {"Ann Lee"}, // only initials
		"u1234":     {"Ann Lee"},
		"zhang.san": {"张三"},
	} {
		for _, other := range others {
			require.False(t, samePerson(account, other), "%s %s", account, other)
		}
	}
	long := strings.Repeat("a ", 1<<20)
	require.False(t, samePerson(strings.Repeat("a", 1<<20)+"b", long), "in no time")
	require.False(t, samePerson("aaaaaaaaab", "aaaa aaaa aaaa aaaa"))
}

// Columns that name the same person in each row are one, and one other person in one row is enough to ask.
func TestColumnsOfTheSamePerson(t *testing.T) {
	t.Parallel()
	const head = "Employee Name,Work Email,Login\n"
	l, err := readList("hq", head+"Ann Lee,ann.lee@corp.example,alee\n\"Ray, Bob\",bob.ray@corp.example,bray\n")
	require.NoError(t, err)
	require.Equal(t, []Leaver{{Line: 2, Project: "hq", User: "alee"}, {Line: 3, Project: "hq", User: "bray"}}, l.Good)
	require.Empty(t, l.Unknown)
	for _, row := range []string{"Ann Lee,boss@corp.example,alee", "Ann Lee,ann.lee@corp.example,cyd"} {
		_, err = readList("hq", head+row+"\n\"Ray, Bob\",bob.ray@corp.example,bray\n")
		var unclear *ColumnError
		require.ErrorAs(t, err, &unclear, row)
		require.Len(t, unclear.Columns, 3)
	}

	// Names of people are not those of machines; labels of desktops may be.
	for name, asks := range map[string]bool{"Ann Lee": false, "\"Lee, Ann\"": false, "Pool 12": true, "PC-1": true, "Lee": true} {
		_, err := readList("hq", "user,Name\nann,"+name+"\n")
		require.Equal(t, asks, err != nil, name)
	}
	_, err = readList("hq", "user,Name,First name\nann,Lee,Ann\n")
	require.NoError(t, err)
	_, err = readList("hq", "user,Name,First name\nann,PC1,Ann\n")
	require.ErrorContains(t, err, "all desktops of the users would be detached")
}

// What only counts rows, or says yes and no, names no desktop. A number that could be an id does.
func TestColumnsThatNameNothing(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Leaver{
		"ID,user\n1,ann\n":                     {User: "ann"},
		"ID,user\n7000000,ann\n":               {Desktop: "7000000", User: "ann"},
		"ID\n1\n":                              {Desktop: "1"},
		"Laptop,user\nyes,ann\n":               {User: "ann"},
		"Laptop,user\nWS-1,ann\n":              {Computer: "WS-1", User: "ann"},
		"Laptop\nyes\n":                        {Computer: "yes"},
		"user,Mailbox\nann,delete\n":           {User: "ann"},
		"user,Desktops\nann,2\n":               {User: "ann"},
		"Machine,DNS name,user\nPC,pc.x,ann\n": {Computer: "PC", User: "ann"},
	} {
		l, err := readList("hq", text)
		require.NoError(t, err, text)
		want.Line, want.Project = 2, "hq"
		require.Equal(t, []Leaver{want}, l.Good, text)
	}
	for _, text := range []string{"user,Desktops\nann,23456\n", "user,Mailbox\nann,bob\n", "Machine,DNS name,user\nPC,pd.x,ann\n"} {
		_, err := readList("hq", text)
		var unclear *ColumnError
		require.ErrorAs(t, err, &unclear, text)
	}
	l, err := readList("hq", "Laptop,user\n,ann\n")
	require.NoError(t, err)
	require.Contains(t, l.Bad[0].Problem, "has the user \"ann\" and no computer")
}
