
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('compute', '0007_evacuation'),
    ]

    operations = [
        migrations.CreateModel(
            name='Reading',
            fields=[
                ('host', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='reading', serialize=False, to='compute.host')),
                ('at', models.BigIntegerField()),
                ('counters', models.JSONField(default=dict)),
            ],
        ),
        migrations.CreateModel(
            name='Sample',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.BigIntegerField()),
                ('values', models.BinaryField()),
                ('host', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='samples', to='compute.host')),
            ],
        ),
        migrations.CreateModel(
            name='Series',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('host', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='series', to='compute.host')),
                ('instance', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='series', to='compute.instance')),
            ],
            options={
                'verbose_name_plural': 'series',
            },
        ),
        migrations.CreateModel(
            name='Block',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('level', models.SmallIntegerField(choices=[(1, 'Minutes'), (2, 'Half Hours')])),
                ('start', models.BigIntegerField()),
                ('values', models.BinaryField()),
                ('series', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='blocks', to='compute.series')),
            ],
        ),
        migrations.DeleteModel(
            name='HostSample',
        ),
        migrations.AddIndex(
            model_name='sample',
            index=models.Index(fields=['host', 'at'], name='samples_of_a_host'),
        ),
        migrations.AddIndex(
            model_name='sample',
            index=models.Index(fields=['at'], name='samples_by_age'),
        ),
        migrations.AddConstraint(
            model_name='series',
            constraint=models.UniqueConstraint(fields=('host', 'instance'), name='one_series_of_an_instance'),
        ),
        migrations.AddConstraint(
            model_name='series',
            constraint=models.UniqueConstraint(condition=models.Q(('instance', None)), fields=('host',), name='one_series_of_a_host'),
        ),
        migrations.AddIndex(
            model_name='block',
            index=models.Index(fields=['level', 'start'], name='blocks_by_age'),
        ),
        migrations.AddConstraint(
            model_name='block',
            constraint=models.UniqueConstraint(fields=('series', 'level', 'start'), name='one_block_of_a_time'),
        ),
    ]
