import pytest
import tables

from bompnas.errors import InputError

CONDITIONAL = """\
gene:layers,gene:width,gene:units,gene:dropout,gene:bits,key,accuracy,note
0,0.5,,,4,a,0.1,x
0,0.5,,,8,b,0.2,x
0,1,,,4,c,0.3,x
0,1,,,8,d,0.4,x
1,0.5,16,,4,e,0.5,x
1,0.5,16,,8,f,0.6,x
1,1,16,,4,g,0.7,x
1,1,16,,8,h,0.8,x
1,0.5,32,low,4,i,0.9,x
1,0.5,32,low,8,j,1.0,x
1,1,32,low,4,k,1.1,x
1,1,32,low,8,l,1.2,x
1,0.5,32,high,4,m,1.3,x
1,0.5,32,high,8,n,1.4,x
1,1,32,high,4,o,1.5,x
1,1,32,high,8,p,1.6,x
"""


@pytest.fixture
def load(tmp_path):
    def load(text):
        path = tmp_path / "mine.csv"
        path.write_text(text, encoding="utf-8")
        return tables.load(path)

    return load


def test_genes_follow_from_the_columns(load):
    table = load(CONDITIONAL)
    layers, width, units, dropout, bits = table.genes
    assert (layers.values, width.values, units.values) == ((0, 1), (0.5, 1.0), (16, 32))
    assert (dropout.values, dropout.ordered, units.ordered) == (("high", "low"), False, True)
    assert [gene.part for gene in table.genes] == ["architecture"] * 4 + ["bits"]
    assert layers.conditions == width.conditions == bits.conditions == ()
    assert units.conditions == (("layers", frozenset({1})),)
    assert dropout.conditions == (("layers", frozenset({1})), ("units", frozenset({32})))


def test_every_point_of_the_space_has_its_row(load):
    table = load(CONDITIONAL)
    found = {table.row(table.space.decode(genotype).values).key for genotype in every_genotype(table.space)}
    assert found == set("abcdefghijklmnop")


def test_a_genotype_finds_its_row_whatever_its_inactive_genes_are(load):
    table = load(CONDITIONAL)
    active = {"layers": 0, "width": 1.0, "bits": 8}
    assert table.row(active).key == table.row({**active, "units": 32, "dropout": "low"}).key == "d"
    assert table.row(active).genes == active
    assert table.row(active).metrics == {"accuracy": 0.4}


def test_text_columns_are_no_metrics(load):
    table = load(CONDITIONAL)
    assert table.metrics == ("accuracy",)
    assert table.name == "mine"


def test_a_failed_row_may_lack_its_measurements(load):
    table = load("gene:a,accuracy,size,error\n1,,7,it diverged\n2,0.5,8,\n")
    assert table.metrics == ("accuracy", "size")
    failed, fine = table.row({"a": 1}), table.row({"a": 2})
    assert (failed.error, failed.metrics) == ("it diverged", {"size": 7.0})
    assert (fine.error, fine.metrics) == (None, {"accuracy": 0.5, "size": 8.0})


def test_a_gene_of_one_odd_cell_is_categorical(load):
    (gene,) = load("gene:kernel,accuracy\n3,1\n5,2\nnone,3\n").genes
    assert (gene.values, gene.ordered) == (("3", "5", "none"), False)


def test_space_around_cells_blank_lines_at_the_end_and_a_byte_order_mark_are_ignored(load):
    table = load("\ufeffgene:a , accuracy\n1 , 0.5\n 2, 0.75\n\n\n")
    assert table.row({"a": 2}).metrics == {"accuracy": 0.75}


def test_whole_and_broken_numbers_are_one_gene_of_numbers(load):
    (gene,) = load("gene:width,accuracy\n1,1\n0.25,2\n2.0,3\n").genes
    assert gene.values == (0.25, 1.0, 2.0)


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        ({"layers": 0, "width": 0.75, "bits": 4}, "width is 0.75, expected one of [0.5, 1.0]"),
        ({"layers": 1, "width": 0.5, "bits": 4}, "units is nothing, expected one of [16, 32]"),
        ({"layers": 1, "width": 0.5, "bits": 4, "units": 32, "dropout": 3}, "dropout is 3, expected one of"),
    ],
)
def test_a_genotype_outside_the_table_is_refused(load, genotype, message):
    with pytest.raises(InputError) as refused:
        load(CONDITIONAL).row(genotype)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 lines found, expected a header and at least one row"),
        ("gene:a,b\n", "1 lines found, expected a header and at least one row"),
        ("a,b\n1,2\n", "columns a, b found, expected at least one `gene:<name>`"),
        ("gene:a,gene:a,b\n1,2,3\n", "column 'gene:a' is there twice"),
        ("gene:a,b\n1,2\n2\n", "row 3: 1 cells found, expected 2 as in the header"),
        ("gene:a,b\n1,2\n\n2,2\n", "row 3: 0 cells found, expected 2 as in the header"),
        ("gene:a,b\n1,2\n1,3\n", "gene:a has the values [1], expected at least two"),
        ("gene:a,key\n1,2\n2,3\n", "columns gene:a, key found, expected at least one of numbers beside the genes"),
        ("gene:a,b\n1,2\n2,3\n1,4\n", "row 4: the same genes as in row 2, expected each point once"),
        ("gene:a,b\n1,2\n2,high\n", "row 3: b is 'high', expected a number"),
        ("gene:a,b\n1,2\n2,nan\n", "row 3: b is 'nan', expected a number"),
        ("gene:a,b,error\n1,2,\n2,,\n", "row 3: b is nothing, expected a number"),
        ("gene:a,gene:b,c\n1,1,0\n1,2,0\n2,1,0\n", "no row with b 2 and a 2; expected every point of the space"),
        ("gene:a,gene:b,c\n1,,0\n1,2,0\n2,1,0\n2,2,0\n", "row 2: gene:b is empty here; expected that what the genes"),
        (
            CONDITIONAL.replace("1,1,32,high,8,p,1.6,x\n", ""),
            "no row with bits 8 and layers 1, width 1.0, units 32, dropo",
        ),
    ],
)
def test_a_bad_table_is_refused_in_one_line(load, text, message):
    with pytest.raises(InputError) as refused:
        load(text)
    assert message in str(refused.value)
    assert "mine.csv" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_and_one_that_is_not_text_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv cannot be read: No such file"):
        tables.load(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="it is not text in UTF-8 with commas"):
        tables.load(tmp_path / "bytes.csv")


def test_an_incomplete_table_is_refused_quickly_however_large_its_space_is(load):
    header = ",".join(f"gene:g{number}" for number in range(40))
    rows = [",".join(str((row + number) % 7) for number in range(1, 41)) for row in range(7)]
    text = "\n".join([f"{header},score", *(f"{row},1" for row in rows)])
    with pytest.raises(InputError, match="expected every point of the space"):
        load(text)


def every_genotype(space):
    genotypes = [{}]
    for gene in space.genes:
        genotypes = [{**genotype, gene.name: value} for genotype in genotypes for value in gene.values]
    return genotypes
