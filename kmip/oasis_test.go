package kmip_test

import (
	"cmp"
	"flag"
	"testing"

	"allclear/kmip/internal/oasis"
)

var oasisDir = flag.String("oasis", "", "folder of other OASIS KMIP 1.x cases, searched with the folders in it")

func TestOASISCasesRoundTripToTheByte(t *testing.T) {
	cases, err := oasis.Folder(cmp.Or(*oasisDir, "testdata/oasis-1.0"))
	if err != nil {
		t.Error(err) // the files it names; the others are tried all the same
	}
	if *oasisDir == "" && len(cases) != 84 {
		t.Errorf("%d cases, there are 84", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if err := oasis.Codec(c); err != nil {
				t.Error(err)
			}
		})
	}
}
