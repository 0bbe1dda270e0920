from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('compute', '0005_host_state'),
    ]

    operations = [
        migrations.AddField(
            model_name='host',
            name='storage_id',
            field=models.CharField(blank=True, default='', editable=False, help_text='Which storage its pool lies on, as last seen.', max_length=64),
        ),
    ]
