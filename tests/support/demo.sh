#!/bin/sh
# make demo: a phantom chest film goes in, a report and a picture come out.
# usage: demo.sh BUILD FOLDER
set -eu
build=$1
demo=$2
mkdir -p "$demo"
rm -rf "$demo/study" "$demo/results"
mkdir "$demo/study"
"$build/tests/support/medaid-phantom" --output "$demo/study/film.dcm" --opacity right --seed 7
echo "A phantom of a chest film: $demo/study/film.dcm"
echo
status=0
"$build/daemon/medaid" --oneshot "$demo/study" --config conf/medaid.yaml --output "$demo/results" || status=$?
if [ $status -eq 0 ]; then
    picture=$(ls "$demo"/results/*picture.dcm)
    report=$(ls "$demo"/results/*sr.dcm)
    dcm2pnm +on -il "$picture" "$demo/picture.png"
    echo
    echo "Report   $report   (read it: dsrdump $report)"
    echo "Picture  $picture   (look at it: $demo/picture.png)"
fi
exit $status
